"""Structured logs: JSON lines for machines, coloured lines on a terminal, the same for libraries' loggers."""

import logging
import sys

import structlog

from runtime.redaction import redacted

# gRPC logs the traceback of every handler that a client breaks off and of every junk connection; what matters of
# it reaches our own log through the error interceptor.
_SILENCED = ("grpc._cython.cygrpc", "grpc.aio._server", "asyncio")

_CHATTY = ("uvicorn", "httpx2", "httpcore2", "google_genai", "alembic")


def configure(*, level: str = "INFO") -> None:
    """Send every log line of this process to stderr."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer, _redact],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger whose events are constant names with fields."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _redact(_: object, __: str, line: structlog.typing.EventDict) -> str:
    """Take keys out of a rendered line, which is what the processor before makes of an event.

    Nothing of ours logs one; a library's message, or a traceback, might.
    """
    return redacted(str(line))
