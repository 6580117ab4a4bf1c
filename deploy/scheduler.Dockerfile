# The scheduler, and its other commands: `migrate`, `init-secrets`, `bootstrap-key`, `healthcheck`. Build from the repository's root:
#   docker build -f deploy/scheduler.Dockerfile -t visionjobs-scheduler .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
COPY requirements/uv.txt requirements/scheduler.txt /build/requirements/
RUN python3 -m venv /app && /app/bin/python -m pip install --no-cache-dir -r /build/requirements/uv.txt \
    && VIRTUAL_ENV=/app /app/bin/uv pip install --no-cache --require-hashes -r /build/requirements/scheduler.txt
COPY libs /build/libs
COPY services/scheduler /build/services/scheduler
COPY migrations /build/migrations
RUN VIRTUAL_ENV=/app /app/bin/uv pip install --no-cache --no-deps --no-sources \
    /build/libs/policies /build/libs/runtime /build/libs/visionjobs /build/migrations /build/services/scheduler \
    && /app/bin/uv pip uninstall --python /app/bin/python uv

FROM ${BASE}
RUN useradd --system --no-create-home --uid 10001 visionjobs
COPY --from=build /app /app
# gRPC's own lines about whoever knocks without a key or certificate are not for a log.
ENV GRPC_VERBOSITY=ERROR
ENV PATH=/app/bin:$PATH \
    SCHEDULER_GRPC_ADDRESS=0.0.0.0:50051 \
    SCHEDULER_HTTP_ADDRESS=0.0.0.0:8080
USER 10001
EXPOSE 50051 8080
HEALTHCHECK --interval=5s --timeout=6s --start-period=10s CMD ["visionjobs-scheduler", "healthcheck"]
CMD ["visionjobs-scheduler"]
