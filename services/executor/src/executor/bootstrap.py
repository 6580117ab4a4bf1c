"""Wires the executor. The only module that knows every class."""

import asyncio
import contextlib
import importlib.metadata
import re
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from typing import Any

from executor.attempts import Attempts
from executor.call_gate import CallGate
from executor.deepseek import client as deepseek
from executor.doors import check_doors, client_tls, health_tls
from executor.execute import Execute
from executor.gemini import client as gemini
from executor.images import LocalImages
from executor.outbox import Outbox
from executor.pixels.process import WorkerLimits
from executor.pixels.workers import open_workers
from executor.ports import Dialer, Hello, ImagePreparer, ModelClient, Spool, UriSource
from executor.provider_key import ProviderKeys
from executor.receive import ConnectionListener, Receiver
from executor.report import Reporter
from executor.rpc.access import Access
from executor.rpc.addresses import Addresses
from executor.rpc.link import SchedulerConnection
from executor.rpc.mapping import OutcomeMessages
from executor.settings import DEFAULT_BASE_URL, DEFAULT_DEEPSEEK_BASE_URL, ExecutorSettings
from executor.slots import Closed, Slots
from executor.spans import Spans
from executor.spool.file_spool import open_spool
from executor.spool.files import SpoolFiles
from executor.uris.opening import open_uris
from executor.validation import Validators
from runtime import logs, metrics, tracing
from runtime.certificate_expiry import CertificateExpiry
from runtime.clock import Clock, SystemClock
from runtime.randomness import Randomness, SystemRandomness
from runtime.serving import GrpcServer
from runtime.tls import ServerTls

_FLUSH_SECONDS = 10.0
# A tenth of Python's own. The provider's SDK computes in a thread beside; what a scheduler says, that a lane is closed above
# all, would wait for it at every step.
_SWITCH_SECONDS = 0.0005

_log = logs.get_logger(__name__)


async def serve(settings: ExecutorSettings, stop: asyncio.Event) -> None:
    """Run an executor that calls the providers it has keys of until `stop` is set, then stop it gracefully.

    Raises:
        DoorsOpen: An address beyond this machine lacks a key or TLS.
        UnusableFile: A certificate, a key or an authority cannot be used.
        OSError: The health address cannot be bound.
    """
    async with _clients(settings) as models:
        await serve_with(models, settings, stop, providers=_providers(settings, models))


async def serve_with(
    models: Mapping[str, ModelClient],
    settings: ExecutorSettings,
    stop: asyncio.Event,
    *,
    providers: str = "other model clients",
) -> None:
    """As `serve`, with any model clients, by provider; `providers` names them for people."""
    check_doors(settings)
    sys.setswitchinterval(_SWITCH_SECONDS)
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
        async with (
            open_spool(files) as spool,
            _preparer(settings) as preparer,
            _uris(settings) as uris,
            health.serving() as health_address,
        ):
            executor = Executor(
                boot=boot,
                capacity=settings.capacity,
                lanes=settings.lanes or tuple(f"{provider}/*" for provider in models),
                drain_seconds=settings.drain_seconds,
                models=models,
                provider_keys=settings.provider_keys,
                images=LocalImages(source=connection, uris=uris, preparer=preparer, clock=clock),
                dialer=connection,
                spool=spool,
                spans=Spans(
                    tracer, provider_urls={"gemini": settings.base_url, "deepseek": settings.deepseek_base_url}
                ),
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
                    provider=providers,
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
        models: Mapping[str, ModelClient],
        images: LocalImages,
        dialer: Dialer,
        spool: Spool,
        spans: Spans,
        clock: Clock,
        randomness: Randomness,
        on_connected: ConnectionListener,
        provider_keys: Mapping[str, str] | None = None,
    ) -> None:
        """Wire it.

        Args:
            boot: Names this boot to schedulers, and nobody else.
            capacity: Jobs at once.
            lanes: What it serves: provider/model, or provider/*.
            drain_seconds: How long running calls may go on at a stop.
            models: Call the providers, by their names.
            images: Makes a job's images local.
            dialer: Knows where schedulers are.
            spool: Keeps outcomes until they are acknowledged.
            spans: Records what happens.
            clock: Time.
            randomness: Spreads its dials.
            on_connected: Hears whether it has a scheduler to work for; never again "yes" once it stops.
            provider_keys: By provider; taken out of what the providers say.
        """
        self._drain_seconds = drain_seconds
        self._listener = on_connected
        self._stopping = False
        self._slots = Slots(capacity=capacity)
        self._keys = ProviderKeys(lanes=lanes, slots=self._slots, clock=clock)
        outbox = Outbox(slots=self._slots)
        gate = CallGate(announcer=outbox, clock=clock)
        self._reporter = Reporter(spool=spool, codec=OutcomeMessages(), outbox=outbox, slots=self._slots, clock=clock)
        self._attempts = Attempts(
            execute=Execute(
                models=models,
                images=images,
                validators=Validators(),
                progress=outbox,
                gate=gate,
                keys=self._keys,
                spans=spans,
                clock=clock,
                provider_keys=provider_keys,
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
            lanes=self._keys,
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
            tasks.create_task(self._keys.run())
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


def _preparer(settings: ExecutorSettings) -> contextlib.AbstractAsyncContextManager[ImagePreparer]:
    limits = WorkerLimits(
        memory_mib=settings.image_worker_memory_mib, seconds=settings.image_seconds, max_side=settings.max_image_side
    )
    return open_workers(limits, workers=settings.image_workers)


def _uris(settings: ExecutorSettings) -> contextlib.AbstractAsyncContextManager[UriSource]:
    return open_uris(
        seconds=settings.uri_seconds,
        allowed_hosts=settings.uri_allowed_hosts,
        allowed_networks=settings.uri_allowed_networks,
    )


@contextlib.asynccontextmanager
async def _clients(settings: ExecutorSettings) -> AsyncIterator[Mapping[str, ModelClient]]:
    """Open a client for each provider that there is a key of."""
    keys = settings.provider_keys
    models: dict[str, ModelClient] = {}
    async with contextlib.AsyncExitStack() as opened:
        if "gemini" in keys:
            models["gemini"] = await opened.enter_async_context(
                gemini.open_client(
                    api_key=keys["gemini"],
                    api_version=settings.gemini_api_version,
                    base_url=settings.base_url,
                    max_connections=settings.capacity,
                )
            )
        if "deepseek" in keys:
            models["deepseek"] = await opened.enter_async_context(
                deepseek.open_client(
                    api_key=keys["deepseek"],
                    base_url=settings.deepseek_base_url,
                    max_connections=settings.capacity,
                )
            )
        yield models


def _providers(settings: ExecutorSettings, models: Iterable[str]) -> str:
    """Return whom this executor calls, for people; the providers' own addresses go without saying."""
    names = {
        "gemini": ("Gemini", settings.base_url, DEFAULT_BASE_URL),
        "deepseek": ("DeepSeek", settings.deepseek_base_url, DEFAULT_DEEPSEEK_BASE_URL),
    }
    called = [names[provider] for provider in models]
    return ", ".join(name if url == default else f"{name} at {url}" for name, url, default in called)


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
