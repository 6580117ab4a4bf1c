# The executor. Build from the repository's root:
#   docker build -f deploy/executor.Dockerfile -t visionjobs-executor .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
COPY requirements/uv.txt requirements/executor.txt /build/requirements/
RUN python3 -m venv /app && /app/bin/python -m pip install --no-cache-dir -r /build/requirements/uv.txt \
    && VIRTUAL_ENV=/app /app/bin/uv pip install --no-cache --require-hashes -r /build/requirements/executor.txt
COPY libs /build/libs
COPY services/executor /build/services/executor
RUN VIRTUAL_ENV=/app /app/bin/uv pip install --no-cache --no-deps --no-sources \
    /build/libs/policies /build/libs/runtime /build/libs/visionjobs /build/services/executor \
    && /app/bin/uv pip uninstall --python /app/bin/python uv

FROM ${BASE}
# The spool outlives the container: what was paid for is delivered by the next one.
RUN useradd --system --no-create-home --uid 10001 visionjobs && install -d -o visionjobs /var/lib/visionjobs/spool
COPY --from=build /app /app
# gRPC's own lines about whoever knocks without a key or certificate are not for a log.
ENV GRPC_VERBOSITY=ERROR
ENV PATH=/app/bin:$PATH \
    EXECUTOR_HEALTH_ADDRESS=0.0.0.0:50052 \
    EXECUTOR_SPOOL_DIR=/var/lib/visionjobs/spool
USER 10001
VOLUME /var/lib/visionjobs/spool
EXPOSE 50052
HEALTHCHECK --interval=5s --timeout=6s --start-period=10s CMD ["visionjobs-executor", "healthcheck"]
CMD ["visionjobs-executor"]
