"""Streams between executors and schedulers: ordered, delayed, reset, or silent for a while in one direction or both."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable

from sim_loop import Machine, SimulatedLoop

from executor.ports import Downlink, ImageSourceAway, Link, LinkBroken, Uplink
from executor.rpc import mapping
from runtime.rpc_errors import RpcError
from scheduler.errors import SchedulerError
from scheduler.rpc.executor_service import ExecutorServicer
from visionjobs.v1 import executor_service_pb2 as pb

_DIAL_SECONDS = 0.002


class _Way:
    """One direction of a stream. What is sent while it is silent never arrives, and neither does the end."""

    def __init__(self, loop: SimulatedLoop, draws: random.Random) -> None:
        self._loop = loop
        self._draws = draws
        self._under_way: deque[pb.WorkRequest | pb.WorkResponse | None] = deque()
        self._arrived: deque[pb.WorkRequest | pb.WorkResponse | None] = deque()
        self._last_arrival = 0.0
        self._wake = asyncio.Event()
        self.silent_until = 0.0
        self._lost = False

    def send(self, message: pb.WorkRequest | pb.WorkResponse | None) -> None:
        if self._loop.now < self.silent_until:
            # A stream that lost a message is no stream any more: nothing that follows arrives either.
            self._lost = True
        if self._lost:
            return
        self._last_arrival = max(self._last_arrival, self._loop.now + self._draws.uniform(0.0002, 0.03))
        # Timers of the same moment fire in no order.
        self._under_way.append(message)
        self._loop.later(self._last_arrival - self._loop.now, self._arrive)

    async def receive(self) -> pb.WorkRequest | pb.WorkResponse | None:
        """Return the next message, None at the end."""
        while not self._arrived:
            self._wake.clear()
            await self._wake.wait()
        return self._arrived.popleft()

    def _arrive(self) -> None:
        self._arrived.append(self._under_way.popleft())
        self._wake.set()


class _Stream:
    """A stream between two machines."""

    def __init__(self, network: "Network", executor: Machine, scheduler: "Host") -> None:
        self.executor = executor
        self.scheduler = scheduler
        self.up = _Way(network.loop, network.draws)
        self.down = _Way(network.loop, network.draws)
        self.handler: asyncio.Task[None] | None = None
        self.is_over = False

    def reset(self) -> None:
        """Break it: both ends hear of it, if they can hear."""
        if not self.is_over:
            self.is_over = True
            self.up.send(None)
            self.down.send(None)
            if self.handler is not None:
                self.handler.cancel()


class Host:
    """A scheduler's place in the network: whoever listens there now."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.machine: Machine | None = None
        self.servicer: ExecutorServicer | None = None


class Network:
    """All streams."""

    def __init__(
        self, loop: SimulatedLoop, draws: random.Random, hosts: list[Host], note: Callable[[str], None]
    ) -> None:
        self.loop = loop
        self.draws = draws
        self.hosts = hosts
        self.note = note
        self.streams: list[_Stream] = []
        self._isolated: dict[Machine, float] = {}

    def open(self, executor: Machine, host: Host) -> _Stream:
        stream = _Stream(self, executor, host)
        stream.up.silent_until = stream.down.silent_until = self._isolated.get(executor, 0.0)
        self.streams = [each for each in self.streams if not each.is_over] + [stream]
        self.loop.later(_DIAL_SECONDS, self._accept, stream)
        return stream

    def lose(self, machine: Machine, *, silently: bool) -> None:
        """A machine died: its system resets its streams, unless it died too."""
        for stream in self.streams:
            if machine in (stream.executor, stream.scheduler.machine):
                if silently:
                    stream.up.silent_until = stream.down.silent_until = float("inf")
                else:
                    stream.reset()

    def isolate(self, machine: Machine, seconds: float) -> None:
        """Let nothing pass between an executor's machine and anybody, on this stream and on new ones."""
        self._isolated[machine] = self.loop.now + seconds
        for stream in self.streams:
            if stream.executor is machine:
                stream.up.silent_until = stream.down.silent_until = self._isolated[machine]

    def silence(self, seconds: float) -> None:
        """Let one of the streams, in one direction or both, swallow what is sent."""
        living = [stream for stream in self.streams if not stream.is_over]
        if living:
            stream = self.draws.choice(living)
            ways = self.draws.choice([(stream.up,), (stream.down,), (stream.up, stream.down)])
            for way in ways:
                way.silent_until = self.loop.now + seconds
            self.note(f"silence on {stream.executor.name} - {stream.scheduler.name}, {len(ways)} ways")

    def reset_one(self) -> None:
        living = [stream for stream in self.streams if not stream.is_over]
        if living:
            stream = self.draws.choice(living)
            self.note(f"reset of {stream.executor.name} - {stream.scheduler.name}")
            stream.reset()

    def _accept(self, stream: _Stream) -> None:
        host = stream.scheduler
        if self.loop.now < stream.up.silent_until:
            return
        if host.machine is None or host.machine.is_dead or host.servicer is None:
            stream.reset()
            return
        stream.handler = self.loop.start(host.machine, _handle(stream, host.servicer))


async def _handle(stream: _Stream, servicer: ExecutorServicer) -> None:
    """Serve one stream on the scheduler's machine."""
    try:
        async for response in servicer.Work(_requests(stream), None):
            stream.down.send(pb.WorkResponse.FromString(response.SerializeToString()))
    except (RpcError, SchedulerError):
        pass
    finally:
        stream.is_over = True
        stream.down.send(None)


async def _requests(stream: _Stream) -> AsyncIterator[pb.WorkRequest]:
    while isinstance(message := await stream.up.receive(), pb.WorkRequest):
        yield message


class SimulatedDialer:
    """Implements executor.ports.Dialer and ImageSource."""

    def __init__(self, network: Network, machine: Machine) -> None:
        self._network = network
        self._machine = machine
        self._stream: _Stream | None = None

    @contextlib.asynccontextmanager
    async def dial(self, turn: int) -> AsyncIterator[Link]:
        host = self._network.hosts[turn % len(self._network.hosts)]
        self._stream = stream = self._network.open(self._machine, host)
        try:
            yield _SimulatedLink(stream)
        finally:
            self._stream = None
            stream.reset()

    async def fetch(self, sha256: str, job_id: str) -> bytes:
        stream = self._stream
        if stream is None or stream.is_over or stream.scheduler.machine is None or stream.scheduler.servicer is None:
            raise ImageSourceAway("no stream")
        loop = self._network.loop
        fetched: asyncio.Future[bytes] = loop.create_future()
        task = loop.start(stream.scheduler.machine, _fetch(stream.scheduler.servicer, sha256, job_id, fetched))
        try:
            async with asyncio.timeout(10.0):
                return await asyncio.shield(fetched)
        except (TimeoutError, RpcError, SchedulerError) as error:
            raise ImageSourceAway(str(error)) from None
        finally:
            task.cancel()


async def _fetch(servicer: ExecutorServicer, sha256: str, job_id: str, fetched: asyncio.Future[bytes]) -> None:
    try:
        parts = [
            part.chunk async for part in servicer.FetchImage(pb.FetchImageRequest(sha256=sha256, job_id=job_id), None)
        ]
    except (RpcError, SchedulerError) as error:
        if not fetched.done():
            fetched.set_exception(error)
    else:
        if not fetched.done():
            fetched.set_result(b"".join(parts))


class _SimulatedLink:
    """Implements executor.ports.Link."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    @property
    def address(self) -> str:
        return self._stream.scheduler.name

    async def send(self, message: Uplink) -> None:
        await asyncio.sleep(0)
        if self._stream.is_over:
            raise LinkBroken("The stream is over.")
        for request in mapping.requests(message):
            self._stream.up.send(pb.WorkRequest.FromString(request.SerializeToString()))

    async def receive(self) -> Downlink:
        response = await self._stream.down.receive()
        if not isinstance(response, pb.WorkResponse):
            raise LinkBroken("The stream is over.")
        return mapping.downlink(response)
