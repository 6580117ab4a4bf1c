# The Gemini emulator, for trying the system without a key. Build from the repository's root:
#   docker build -f deploy/emulator.Dockerfile -t visionjobs-gemini-emulator .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
COPY requirements/uv.txt requirements/devkit.txt /build/requirements/
RUN python3 -m venv /app && /app/bin/python -m pip install --no-cache-dir -r /build/requirements/uv.txt \
    && VIRTUAL_ENV=/app /app/bin/uv pip install --no-cache --require-hashes -r /build/requirements/devkit.txt
COPY libs /build/libs
RUN VIRTUAL_ENV=/app /app/bin/uv pip install --no-cache --no-deps --no-sources /build/libs/visionjobs /build/libs/devkit \
    && /app/bin/uv pip uninstall --python /app/bin/python uv

FROM ${BASE}
RUN useradd --system --no-create-home --uid 10001 visionjobs
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH
USER 10001
EXPOSE 8090
CMD ["visionjobs-gemini-emulator", "--host", "0.0.0.0", "--port", "8090"]
