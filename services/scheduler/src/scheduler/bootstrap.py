"""Runs a scheduler on Postgres, behind its two ports, until it is told to stop."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry

from runtime import logs, metrics, tracing
from runtime.certificate_expiry import CertificateExpiry
from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from runtime.serving import GrpcServer
from runtime.tls import ServerTls
from scheduler.assembly import Scheduler
from scheduler.doors import check_doors, server_tls
from scheduler.http import server as http_server
from scheduler.metrics import Counters
from scheduler.object_images.objects import ObjectImages
from scheduler.postgres.database import PoolSettings
from scheduler.postgres.images import ImageKeeping
from scheduler.postgres.notifications import Notifications
from scheduler.postgres.store import open_store
from scheduler.rpc.errors import translate
from scheduler.settings import SchedulerSettings
from visionjobs.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    executor_service_pb2,
    executor_service_pb2_grpc,
    vision_job_service_pb2,
    vision_job_service_pb2_grpc,
)

_SERVICES = (
    vision_job_service_pb2.DESCRIPTOR.services_by_name["VisionJobService"].full_name,
    executor_service_pb2.DESCRIPTOR.services_by_name["ExecutorService"].full_name,
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
)

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running scheduler is bound, each host:port."""

    grpc: str
    http: str


async def serve(settings: SchedulerSettings, stop: asyncio.Event) -> None:
    """Run a scheduler until `stop` is set.

    Raises:
        StoreUnavailable: The database does not answer at start.
        WrongRevision: The database has another revision.
        ImageStoreUnusable: Images cannot be kept where they should be.
        OSError: An address cannot be bound.
        UnusableFile: A certificate, a key or an authority cannot be used.
    """
    async with running(settings) as addresses:
        _log.info("scheduler_started", grpc_address=addresses.grpc, http_address=addresses.http)
        await stop.wait()
        _log.info("scheduler_stopping")
    _log.info("scheduler_stopped")


@contextlib.asynccontextmanager
async def running(settings: SchedulerSettings) -> AsyncIterator[Addresses]:
    """Run a scheduler while the block runs, then stop it gracefully. Raises as `serve`."""
    clock, randomness = SystemClock(), SystemRandomness()
    tls = server_tls(settings)
    registry = CollectorRegistry()
    meters = metrics.configure(
        "visionjobs-scheduler", [PrometheusMetricReader(registry=registry, scope_info_enabled=False)]
    )
    expiry = CertificateExpiry(tls.files if tls else (), clock=clock)
    expiry.register(meters.meter)
    spans = tracing.configure(service_name="visionjobs-scheduler", randomness=randomness)
    pool = PoolSettings(
        min_size=settings.database_pool_min,
        max_size=settings.database_pool_max,
        idle_seconds=settings.database_pool_idle_seconds,
        connect_seconds=settings.database_connect_seconds,
        password=settings.database_password,
    )
    url = settings.database_url.get_secret_value()
    try:
        async with open_store(
            url,
            clock=clock,
            pool=pool,
            result_lifetime=settings.result_lifetime,
            images=ImageKeeping(
                lifetime=settings.image_lifetime, objects=ObjectImages(settings.image_store, randomness=randomness)
            ),
        ) as store:
            signals = Notifications(
                url=url,
                password=settings.database_password,
                database=store.database,
                sender=randomness.token(6).hex(),
                clock=clock,
            )
            server = _Server(settings, tls)
            counters = Counters(meters.meter)
            scheduler = Scheduler(
                settings,
                store=store,
                signals=signals,
                clock=clock,
                randomness=randomness,
                spans=spans,
                on_health=server.set_healthy,
                denied=counters.denied,
                rerouted=counters.rerouted,
            )
            await scheduler.prepare()
            check_doors(
                grpc_address=settings.grpc_address,
                http_address=settings.http_address,
                tls=tls is not None,
                keys_exist=scheduler.has_keys,
                insecure=settings.insecure,
            )
            async with _serving(
                settings, server, scheduler, signals=signals, expiry=expiry, registry=registry
            ) as addresses:
                yield addresses
    finally:
        await asyncio.to_thread(spans.shutdown)
        await asyncio.to_thread(meters.shutdown)


@contextlib.asynccontextmanager
async def _serving(
    settings: SchedulerSettings,
    server: "_Server",
    scheduler: Scheduler,
    *,
    signals: Notifications,
    expiry: CertificateExpiry,
    registry: CollectorRegistry,
) -> AsyncIterator[Addresses]:
    grpc_address = await server.start(scheduler)
    async with (
        http_server.serving(settings.http_address, scheduler.http(registry), tls=server.http_tls) as http_address,
        asyncio.TaskGroup() as tasks,
    ):
        working = [
            tasks.create_task(scheduler.run()),
            tasks.create_task(signals.run(scheduler.look)),
            tasks.create_task(expiry.run()),
        ]
        try:
            yield Addresses(grpc=grpc_address, http=http_address)
        finally:
            await server.stop_serving()
            scheduler.let_go()
            await server.stop(settings.stop_seconds)
            await scheduler.flush()
            for task in working:
                task.cancel()


class _Server:
    """The gRPC server, and whether it says that it is well."""

    def __init__(self, settings: SchedulerSettings, tls: ServerTls | None) -> None:
        self._settings = settings
        self._tls = tls
        self._stopping = False

    @property
    def http_tls(self) -> ssl.SSLContext | None:
        """The TLS of the HTTP port; None if it serves without."""
        return self._tls.http_context() if self._tls else None

    async def start(self, scheduler: Scheduler) -> str:
        """Serve a scheduler; return the bound address. Raises OSError."""
        self._grpc = GrpcServer(
            address=self._settings.grpc_address, translate=translate, interceptors=[scheduler.gate], tls=self._tls
        )
        server = self._grpc.server
        vision_job_service_pb2_grpc.add_VisionJobServiceServicer_to_server(scheduler.jobs, server)
        executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(scheduler.executors, server)
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(scheduler.operators, server)
        return await self._grpc.start(_SERVICES)

    async def set_healthy(self, healthy: bool) -> None:  # noqa: FBT001 - the callback's only argument
        await self._grpc.set_serving(serving=healthy and not self._stopping)

    async def stop_serving(self) -> None:
        """Say that nobody should come any more."""
        self._stopping = True
        await self._grpc.set_serving(serving=False)

    async def stop(self, seconds: float) -> None:
        """End all calls, those that do not end by themselves after this time."""
        await self._grpc.stop(seconds)
