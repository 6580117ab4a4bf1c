"""Wires the executor. The only module that knows every class."""

import asyncio
import contextlib
import importlib.metadata
import re
import socket
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from executor.attempts import Attempts
from executor.execute import Execute
from executor.gemini.client import open_client
from executor.images import LocalImages
from executor.outbox import Outbox
from executor.ports import Hello, ModelClient, Spool
from executor.provider_key import ProviderKey
from executor.receive import Receiver
from executor.report import Reporter
from executor.rpc.addresses import Addresses
from executor.rpc.link import SchedulerConnection
from executor.rpc.mapping import OutcomeMessages
from executor.settings import DEFAULT_BASE_URL, ExecutorSettings
from executor.slots import Closed, Slots
from executor.spans import Spans
from executor.spool.file_spool import open_spool
from executor.spool.files import SpoolFiles
from executor.validation import Validators
from runtime import logs, tracing
from runtime.clock import SystemClock
from runtime.randomness import Randomness, SystemRandomness
from runtime.serving import GrpcServer

_FLUSH_SECONDS = 10.0

_log = logs.get_logger(__name__)


async def serve(settings: ExecutorSettings, stop: asyncio.Event) -> None:
    """Run an executor that calls Gemini until `stop` is set, then stop it gracefully.

    Raises:
        OSError: The health address cannot be bound.
    """
    assert settings.api_key is not None
    async with open_client(
        api_key=settings.api_key.get_secret_value(),
        api_version=settings.gemini_api_version,
        base_url=settings.base_url,
        max_connections=settings.capacity,
    ) as model:
        provider = "Gemini" if settings.base_url == DEFAULT_BASE_URL else f"Gemini at {settings.base_url}"
        await serve_with(model, settings, stop, provider=provider)


async def serve_with(
    model: ModelClient, settings: ExecutorSettings, stop: asyncio.Event, *, provider: str = "another model client"
) -> None:
    """As `serve`, with any model client; `provider` names it for people."""
    randomness = SystemRandomness()
    spans = tracing.configure(service_name="visionjobs-executor", randomness=randomness)
    boot = _boot_name(randomness)
    files = SpoolFiles(settings.spool_dir, boot=boot, attempt_id=OutcomeMessages().attempt_id)
    try:
        async with open_spool(files) as spool:
            executor = _Executor(settings, boot=boot, model=model, spool=spool, spans=spans, randomness=randomness)
            async with executor.running() as health_address:
                _log.info(
                    "executor_started",
                    executor_id=boot,
                    health_address=health_address,
                    provider=provider,
                    capacity=settings.capacity,
                    scheduler_address=settings.scheduler_address,
                )
                await stop.wait()
                _log.info("executor_stopping")
    finally:
        await asyncio.to_thread(spans.shutdown)
    _log.info("executor_stopped")


class _Executor:
    """The objects of one executor."""

    def __init__(
        self,
        settings: ExecutorSettings,
        *,
        boot: str,
        model: ModelClient,
        spool: Spool,
        spans: tracing.Tracing,
        randomness: Randomness,
    ) -> None:
        clock = SystemClock()
        connection = SchedulerConnection(Addresses(settings.scheduler_address))
        self._drain_seconds = settings.drain_seconds
        self._health = GrpcServer(address=settings.health_address, translate=lambda _: None)
        self._slots = Slots(capacity=settings.capacity)
        self._key = ProviderKey(slots=self._slots, clock=clock)
        outbox = Outbox(slots=self._slots)
        self._reporter = Reporter(spool=spool, codec=OutcomeMessages(), outbox=outbox, slots=self._slots, clock=clock)
        self._attempts = Attempts(
            execute=Execute(
                model=model,
                images=LocalImages(source=connection, clock=clock),
                validators=Validators(),
                progress=outbox,
                key=self._key,
                spans=Spans(spans, provider_url=settings.base_url),
                clock=clock,
            ),
            reporter=self._reporter,
            outbox=outbox,
            slots=self._slots,
            clock=clock,
        )
        self._receiver = Receiver(
            dialer=connection,
            hello=Hello(
                executor_id=boot,
                host=socket.gethostname(),
                version=importlib.metadata.version("visionjobs-executor"),
                capacity=settings.capacity,
                lanes=settings.lanes,
            ),
            attempts=self._attempts,
            reporter=self._reporter,
            outbox=outbox,
            slots=self._slots,
            clock=clock,
            randomness=randomness,
            on_connected=self._on_connected,
        )
        self._stopping = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Work while the block runs, then stop gracefully; the value is the bound health address. Raises OSError."""
        health_address = await self._health.start(())
        async with asyncio.TaskGroup() as tasks:
            loops = [
                tasks.create_task(self._reporter.run()),
                tasks.create_task(self._attempts.run()),
                tasks.create_task(self._key.run()),
                tasks.create_task(self._receiver.run()),
            ]
            yield health_address
            await self._stop()
            for loop in loops:
                loop.cancel()
        await self._health.stop(0)

    async def _stop(self) -> None:
        """Take nothing new, release what was not called, let calls end, and see every outcome acknowledged."""
        self._stopping = True
        await self._health.set_serving(serving=False)
        self._slots.close(Closed.STOPPING)
        self._attempts.release_uncalled("The executor is stopping.")
        if not await _within(self._drain_seconds, self._attempts.finished()):
            self._attempts.release_all("The executor stopped before the call ended.")
            await self._attempts.finished()
        if not await _within(_FLUSH_SECONDS, self._reporter.flush()):
            _log.warning("outcomes_stay_on_spool", outcomes=len(self._reporter.unacknowledged))

    async def _on_connected(self, *, connected: bool) -> None:
        await self._health.set_serving(serving=connected and not self._stopping)


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> bool:
    """Return whether the work ended in time; what did not is cancelled."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        return False
    return True


def _boot_name(randomness: Randomness) -> str:
    """Return what names this boot to schedulers, and its directory in the spool."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:64].strip(".") or "executor"
    return f"{host}-{randomness.token(6).hex()}"
