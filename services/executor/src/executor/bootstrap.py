"""Wires the executor. The only module that knows every class."""

import asyncio
import contextlib
import importlib.metadata
import socket
from collections.abc import AsyncIterator

from executor.execute import Attempts
from executor.gemini import GeminiClient
from executor.ports import ModelClient
from executor.receive import Identity, Receiver
from executor.report import Reporter
from executor.rpc.link import GrpcDialer
from executor.rpc.mapping import outcome_record
from executor.settings import ExecutorSettings
from executor.spool import DiskSpool
from runtime import logs, tracing
from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from runtime.serving import GrpcServer

_log = logs.get_logger(__name__)


async def serve(settings: ExecutorSettings, stop: asyncio.Event) -> None:
    """Run an executor that calls Gemini until `stop` is set, then stop it gracefully.

    Raises:
        OSError: The spool cannot be written, or the health address cannot be bound.
    """
    assert settings.api_key is not None
    _log.info("executor_provider", base_url=settings.base_url or "the provider's own", capacity=settings.capacity)
    async with GeminiClient(
        api_key=settings.api_key.get_secret_value(),
        api_version=settings.gemini_api_version,
        base_url=settings.base_url,
        max_connections=settings.capacity,
        clock=SystemClock(),
    ) as model:
        await serve_with(model, settings, stop)


async def serve_with(model: ModelClient, settings: ExecutorSettings, stop: asyncio.Event) -> None:
    """As `serve`, with another model client."""
    clock, randomness = SystemClock(), SystemRandomness()
    boot = f"{socket.gethostname()}-{randomness.token(4).hex()}"
    spans = tracing.configure(service_name="visionjobs-executor", randomness=randomness)
    with contextlib.closing(DiskSpool(settings.spool_dir, boot=boot)) as spool:
        health = GrpcServer(address=settings.health_address, translate=lambda _: None)
        dialer = GrpcDialer()
        reporter = Reporter(spool=spool, clock=clock, encode=outcome_record, on_change=lambda: receiver.send_credit())  # noqa: PLW0108 - the receiver comes later
        attempts = Attempts(
            model=model,
            images=dialer,
            clock=clock,
            tracing=spans,
            report_stage=lambda attempt, stage: receiver.report_stage(attempt, stage),  # noqa: PLW0108 - as above
        )

        async def on_connected(*, connected: bool) -> None:
            await health.set_serving(serving=connected and not stop.is_set())

        receiver = Receiver(
            identity=Identity(
                executor_id=boot,
                host=socket.gethostname(),
                version=importlib.metadata.version("visionjobs-executor"),
                capacity=settings.capacity,
                lanes=settings.lanes,
            ),
            addresses=settings.scheduler_address,
            dialer=dialer,
            attempts=attempts,
            reporter=reporter,
            clock=clock,
            randomness=randomness,
            on_connected=on_connected,
        )
        health_address = await health.start(())
        _log.info("executor_started", executor_id=boot, health_address=health_address)
        async with _in_background(receiver, reporter):
            await stop.wait()
            _log.info("executor_stopping")
            await health.set_serving(serving=False)
            await receiver.stop(settings.drain_seconds)
        await health.stop(0)
    await asyncio.to_thread(spans.shutdown)
    _log.info("executor_stopped")


@contextlib.asynccontextmanager
async def _in_background(receiver: Receiver, reporter: Reporter) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        loops = [tasks.create_task(reporter.run()), tasks.create_task(receiver.run())]
        yield
        for loop in loops:
            loop.cancel()
