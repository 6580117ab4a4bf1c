"""Wires the executor. The only module that knows every class."""

import asyncio
import contextlib
import importlib.metadata
import re
import socket
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from executor.attempts import Attempts
from executor.call_gate import CallGate
from executor.doors import check_doors, client_tls, health_tls
from executor.execute import Execute
from executor.gemini.client import open_client
from executor.images import LocalImages
from executor.outbox import Outbox
from executor.ports import Dialer, Hello, ImageSource, ModelClient, Spool
from executor.provider_key import ProviderKey
from executor.receive import ConnectionListener, Receiver
from executor.report import Reporter
from executor.rpc.access import Access
from executor.rpc.addresses import Addresses
from executor.rpc.link import SchedulerConnection
from executor.rpc.mapping import OutcomeMessages
from executor.settings import DEFAULT_BASE_URL, ExecutorSettings
from executor.slots import Closed, Slots
from executor.spans import Spans
from executor.spool.file_spool import open_spool
from executor.spool.files import SpoolFiles
from executor.validation import Validators
from runtime import logs, metrics, tracing
from runtime.certificate_expiry import CertificateExpiry
from runtime.clock import Clock, SystemClock
from runtime.randomness import Randomness, SystemRandomness
from runtime.serving import GrpcServer
from runtime.tls import ServerTls

_FLUSH_SECONDS = 10.0

_log = logs.get_logger(__name__)


async def serve(settings: ExecutorSettings, stop: asyncio.Event) -> None:
    """Run an executor that calls Gemini until `stop` is set, then stop it gracefully.

    Raises:
        DoorsOpen: An address beyond this machine lacks a key or TLS.
        UnusableFile: A certificate, a key or an authority cannot be used.
        OSError: The health address cannot be bound.
    """
    assert settings.gemini_api_key is not None
    async with open_client(
        api_key=settings.gemini_api_key.get_secret_value(),
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
    check_doors(settings)
    dialling, answering = client_tls(settings), health_tls(settings)
    clock, randomness = SystemClock(), SystemRandomness()
    meters = metrics.configure("visionjobs-executor")
    # One of the two: they share the certificate.
    tls = dialling or answering
    expiry = CertificateExpiry(tls.files if tls else (), clock=clock)
    expiry.register(meters.meter)
    tracer = tracing.configure(service_name="visionjobs-executor", randomness=randomness)
    boot = _boot_name(randomness)
    files = SpoolFiles(settings.spool_dir, boot=boot, attempt_id=OutcomeMessages().attempt_id)
    access = Access(read_key=settings.read_api_key, tls=dialling)
    connection = SchedulerConnection(Addresses(settings.scheduler_address), access)
    health = _Health(settings.health_address, answering)
    try:
        async with open_spool(files) as spool, health.serving() as health_address:
            executor = Executor(
                boot=boot,
                capacity=settings.capacity,
                lanes=settings.lanes,
                drain_seconds=settings.drain_seconds,
                model=model,
                images=connection,
                dialer=connection,
                spool=spool,
                spans=Spans(tracer, provider_url=settings.base_url),
                clock=clock,
                randomness=randomness,
                on_connected=health.set_connected,
            )
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(executor.run())
                warning = tasks.create_task(expiry.run())
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
                await executor.stop()
                running.cancel()
                warning.cancel()
    finally:
        await asyncio.to_thread(tracer.shutdown)
        await asyncio.to_thread(meters.shutdown)
    _log.info("executor_stopped")


class Executor:
    """The objects of one executor, without its sockets and files: these are arguments, so that others can run it."""

    def __init__(
        self,
        *,
        boot: str,
        capacity: int,
        lanes: tuple[str, ...],
        drain_seconds: float = 300.0,
        model: ModelClient,
        images: ImageSource,
        dialer: Dialer,
        spool: Spool,
        spans: Spans,
        clock: Clock,
        randomness: Randomness,
        on_connected: ConnectionListener,
    ) -> None:
        """Wire it.

        Args:
            boot: Names this boot to schedulers, and nobody else.
            capacity: Jobs at once.
            lanes: What it serves: provider/model, or provider/*.
            drain_seconds: How long running calls may go on at a stop.
            model: Calls the provider.
            images: Where large images come from.
            dialer: Knows where schedulers are.
            spool: Keeps outcomes until they are acknowledged.
            spans: Records what happens.
            clock: Time.
            randomness: Spreads its dials.
            on_connected: Hears whether it has a scheduler to work for; never again "yes" once it stops.
        """
        self._drain_seconds = drain_seconds
        self._listener = on_connected
        self._stopping = False
        self._slots = Slots(capacity=capacity)
        self._key = ProviderKey(slots=self._slots, clock=clock)
        outbox = Outbox(slots=self._slots)
        gate = CallGate(announcer=outbox, clock=clock)
        self._reporter = Reporter(spool=spool, codec=OutcomeMessages(), outbox=outbox, slots=self._slots, clock=clock)
        self._attempts = Attempts(
            execute=Execute(
                model=model,
                images=LocalImages(source=images, clock=clock),
                validators=Validators(),
                progress=outbox,
                gate=gate,
                key=self._key,
                spans=spans,
                clock=clock,
            ),
            reporter=self._reporter,
            outbox=outbox,
            slots=self._slots,
            clock=clock,
        )
        self._receiver = Receiver(
            dialer=dialer,
            hello=Hello(
                executor_id=boot,
                host=socket.gethostname(),
                version=importlib.metadata.version("visionjobs-executor"),
                capacity=capacity,
                lanes=lanes,
            ),
            attempts=self._attempts,
            gate=gate,
            reporter=self._reporter,
            outbox=outbox,
            slots=self._slots,
            clock=clock,
            randomness=randomness,
            on_connected=self._on_connected,
        )

    async def run(self) -> None:
        """Work until cancelled. To be cancelled in the middle is to die: the next boot on this spool reports for it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reporter.run())
            tasks.create_task(self._attempts.run())
            tasks.create_task(self._key.run())
            tasks.create_task(self._receiver.run())

    async def stop(self) -> None:
        """Take nothing new, release what was not called, let calls end, and see every outcome acknowledged.

        `run` goes on meanwhile, and is cancelled by the caller afterwards.
        """
        self._stopping = True
        await self._on_connected(connected=False)
        self._slots.close(Closed.STOPPING)
        self._attempts.release_uncalled("The executor is stopping.")
        if not await _within(self._drain_seconds, self._attempts.finished()):
            self._attempts.release_all("The executor stopped before the call ended.")
            await self._attempts.finished()
        if not await _within(_FLUSH_SECONDS, self._reporter.flush()):
            _log.warning("outcomes_stay_on_spool", outcomes=len(self._reporter.unacknowledged))

    async def _on_connected(self, *, connected: bool) -> None:
        await self._listener(connected=connected and not self._stopping)


class _Health:
    """The health endpoint: serving while a scheduler is connected."""

    def __init__(self, address: str, tls: ServerTls | None) -> None:
        self._server = GrpcServer(address=address, translate=lambda _: None, tls=tls)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Answer while the block runs; the value is the bound address. Raises OSError."""
        address = await self._server.start(())
        try:
            yield address
        finally:
            await self._server.stop(0)

    async def set_connected(self, *, connected: bool) -> None:
        await self._server.set_serving(serving=connected)


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
