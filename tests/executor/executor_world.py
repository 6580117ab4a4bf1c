"""The executor's use cases among hand-written fakes: model, images, spool, and a scheduler in memory."""

import asyncio
import contextlib
import datetime
import hashlib
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import cast

from devkit.virtual_time import VirtualClock, run
from executor.attempts import Attempts
from executor.call_gate import CallGate
from executor.execute import Execute
from executor.images import LocalImages
from executor.outbox import Outbox
from executor.ports import (
    Begin,
    Downlink,
    Hello,
    ImageSource,
    ImageUnavailable,
    Link,
    LinkBroken,
    ModelAnswer,
    ModelImage,
    ModelRequest,
    Permit,
    SpoolUnwritable,
    Uplink,
    Welcome,
    at_once,
)
from executor.provider_key import ProviderKeys
from executor.receive import Receiver
from executor.report import Reporter
from executor.slots import Slots
from executor.spans import Spans
from executor.validation import Validators
from executor.work import Assignment, AttemptId, ImageRef, Outcome, Usage
from runtime.clock import Clock
from runtime.tracing import Tracing

# One gray pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)
SHA256 = hashlib.sha256(PNG).hexdigest()
SCHEMA = '{"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}'
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
USAGE = Usage(input_tokens=1_200, output_tokens=20, image_tokens=1_120)


def assignment(number: int = 1, *, attempt: int = 1, inline: bool = True, **changes: object) -> Assignment:
    fields: dict[str, object] = {
        "attempt_id": AttemptId(f"01990000-0000-7000-8000-{number:012}", attempt),
        "lane": "gemini/gemini-3.8-flash",
        "model": "gemini-3.8-flash",
        "prompt": "Read the receipt.",
        "schema_json": SCHEMA,
        "images": (ImageRef(sha256=SHA256, mime_type="image/png"),),
        "inline_images": {SHA256: PNG} if inline else {},
        "timeout": datetime.timedelta(seconds=30),
        "traceparent": TRACEPARENT,
    }
    return Assignment(**fields | changes)  # type: ignore[arg-type]


def answer(text: str = '{"total": 12.5}', **changes: object) -> ModelAnswer:
    fields: dict[str, object] = {"text": text, "finish_reason": "STOP", "model_version": "fake", "usage": USAGE}
    return ModelAnswer(**fields | changes)  # type: ignore[arg-type]


class FixedRandomness:
    def draw(self) -> float:
        return 0.0

    def token(self, size: int) -> bytes:
        return bytes(size)


class FakeModel:
    """Answers as it is told to; `respond` may wait, or raise."""

    def __init__(self, respond: Callable[[ModelRequest], Awaitable[ModelAnswer]] | None = None) -> None:
        self.requests: list[ModelRequest] = []
        self.called = asyncio.Event()
        self.respond = respond

    async def analyze(self, request: ModelRequest, begin: Begin = at_once) -> ModelAnswer:
        await begin()
        self.requests.append(request)
        self.called.set()
        return answer() if self.respond is None else await self.respond(request)


async def for_ever(_: ModelRequest) -> ModelAnswer:
    await asyncio.Event().wait()
    raise AssertionError


def raising(error: Exception) -> Callable[[ModelRequest], Awaitable[ModelAnswer]]:
    async def respond(_: ModelRequest) -> ModelAnswer:
        raise error

    return respond


class FakeImages:
    """Has one image, which takes its time; `failures` are raised first, one a call."""

    def __init__(self, *failures: Exception, seconds: float = 0.0) -> None:
        self.failures = list(failures)
        self.seconds = seconds
        self.fetched: list[str] = []

    async def fetch(self, sha256: str, job_id: str) -> bytes:
        self.fetched.append(job_id)
        await asyncio.sleep(self.seconds)
        if self.failures:
            raise self.failures.pop(0)
        if sha256 != SHA256:
            raise ImageUnavailable("no such image")
        return PNG


class AnyImage:
    """Decodes nothing: every image is a fine PNG."""

    async def prepare(self, data: bytes) -> ModelImage:
        return ModelImage(data, "image/png")


class NoUris:
    """There is no web."""

    async def fetch(self, uri: str) -> bytes:
        raise ImageUnavailable(f"{uri} cannot be reached.")


def local_images(source: ImageSource, clock: Clock) -> LocalImages:
    return LocalImages(source=source, uris=NoUris(), preparer=AnyImage(), clock=clock)


class PickleCodec:
    def encode(self, outcome: Outcome) -> bytes:
        return pickle.dumps(outcome)

    def attempt_id(self, record: bytes) -> AttemptId:
        return decoded(record).attempt_id


def decoded(record: bytes) -> Outcome:
    return cast("Outcome", pickle.loads(record))


class FakeSpool:
    """A spool in memory. While `broken` is set, nothing can be written."""

    def __init__(self, adopted: Sequence[bytes] = ()) -> None:
        self.adopted = adopted
        self.kept: dict[AttemptId, bytes] = {}
        self.broken = False
        self.changed = asyncio.Event()

    async def open(self) -> Sequence[bytes]:
        if self.broken:
            raise SpoolUnwritable("no such directory")
        return self.adopted

    async def write(self, records: Sequence[tuple[AttemptId, bytes]], *, forget: Collection[AttemptId]) -> None:
        await self.check()
        self.kept.update(records)
        for attempt_id in forget:
            self.kept.pop(attempt_id, None)
        self.changed.set()

    async def check(self) -> None:
        await asyncio.sleep(0.001)
        if self.broken:
            raise SpoolUnwritable("no space left")


class FakeLink:
    """The scheduler's end of one stream."""

    def __init__(self, address: str, *, echoes: bool, welcome: Downlink | None) -> None:
        self._address = address
        self.echoes = echoes
        self._down: asyncio.Queue[Downlink | LinkBroken] = asyncio.Queue()
        self._changed = asyncio.Event()
        self.messages: list[Uplink] = []
        # Told of every message before anything else happens.
        self.on_send: Callable[[Uplink], None] = lambda _: None
        if welcome is not None:
            self._down.put_nowait(welcome)

    @property
    def address(self) -> str:
        return self._address

    async def send(self, message: Uplink) -> None:
        await asyncio.sleep(0)
        self.messages.append(message)
        self._changed.set()
        self.on_send(message)
        if self.echoes and message.heartbeat is not None:
            self._down.put_nowait(Downlink(echoed=message.heartbeat.number))

    async def receive(self) -> Downlink:
        message = await self._down.get()
        if isinstance(message, LinkBroken):
            raise message
        return message

    def say(self, **fields: object) -> None:
        """Send something to the executor."""
        self._down.put_nowait(Downlink(**fields))  # type: ignore[arg-type]

    def assign(self, *assignments: Assignment) -> None:
        self.say(assignments=assignments)

    def permit(self, attempt_id: AttemptId, *, seconds: float = 0.5) -> None:
        self.say(permits=[Permit(attempt_id, datetime.timedelta(seconds=seconds))])

    def break_off(self) -> None:
        self._down.put_nowait(LinkBroken("UNAVAILABLE: gone"))

    @property
    def hello(self) -> Hello:
        assert self.messages[0].hello is not None
        return self.messages[0].hello

    @property
    def credits(self) -> list[tuple[int, int]]:
        """All credits so far, as (free slots, assignments received)."""
        return [
            (message.credit.free_slots, message.credit.assignments_received)
            for message in self.messages
            if message.credit is not None
        ]

    @property
    def outcomes(self) -> list[Outcome]:
        return [decoded(record) for message in self.messages for record in message.outcomes]

    @property
    def stages(self) -> list[tuple[AttemptId, str]]:
        return [(each.attempt_id, each.stage.name) for message in self.messages for each in message.progress]

    @property
    def ready(self) -> list[AttemptId]:
        return [each for message in self.messages for each in message.ready]

    @property
    def withdrawn(self) -> list[AttemptId]:
        return [each for message in self.messages for each in message.withdrawn]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition, which speaks of what the executor said, is true."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def outcome(self, count: int = 1) -> Outcome:
        """Wait for this many outcomes, and return the last."""
        await self.until(lambda: len(self.outcomes) >= count)
        return self.outcomes[count - 1]


class FakeSchedulers:
    """Implements Dialer: every dial makes a link, or fails while `away` is set."""

    def __init__(self) -> None:
        self.away = False
        self.echoes = True
        self.welcomes = True
        self.superseded: tuple[AttemptId, ...] = ()
        self.on_send: Callable[[Uplink], None] = lambda _: None
        self.turns: list[int] = []
        self.dial_times: list[float] = []
        self.links: list[FakeLink] = []
        self._dialled = asyncio.Event()

    @contextlib.asynccontextmanager
    async def dial(self, turn: int) -> AsyncIterator[Link]:
        self.turns.append(turn)
        self.dial_times.append(asyncio.get_running_loop().time())
        self._dialled.set()
        if self.away:
            raise LinkBroken("UNAVAILABLE: connection refused")
        welcome = Welcome(
            session=len(self.links) + 1,
            heartbeat_interval=datetime.timedelta(seconds=3),
            lost_after=datetime.timedelta(seconds=10),
            superseded=self.superseded,
        )
        link = FakeLink(
            f"fake:{turn}", echoes=self.echoes, welcome=Downlink(welcome=welcome) if self.welcomes else None
        )
        link.on_send = self.on_send
        self.links.append(link)
        yield link

    async def link(self, number: int = 1) -> FakeLink:
        """Wait for the n-th stream, and the executor's first words on it."""
        while len(self.links) < number:
            self._dialled.clear()
            await self._dialled.wait()
            await asyncio.sleep(0)
        link = self.links[number - 1]
        await link.until(lambda: len(link.messages) > 1 or not self.welcomes)
        return link

    async def dials(self, count: int) -> None:
        while len(self.turns) < count:
            self._dialled.clear()
            await self._dialled.wait()


class World:
    """One executor, wired as bootstrap does."""

    def __init__(
        self,
        *,
        capacity: int = 3,
        lanes: tuple[str, ...] = ("gemini/*",),
        model: FakeModel | None = None,
        images: FakeImages | None = None,
        spool: FakeSpool | None = None,
        schedulers: FakeSchedulers | None = None,
        max_unacknowledged_bytes: int = 1_000_000,
    ) -> None:
        self.clock = VirtualClock()
        self.model = model or FakeModel()
        self.images = images or FakeImages()
        self.spool = spool or FakeSpool()
        self.schedulers = schedulers or FakeSchedulers()
        self.connected: list[bool] = []
        self.slots = Slots(capacity=capacity)
        self.keys = ProviderKeys(lanes=lanes, slots=self.slots, clock=self.clock)
        self.outbox = Outbox(slots=self.slots)
        self.gate = CallGate(announcer=self.outbox, clock=self.clock)
        self.reporter = Reporter(
            spool=self.spool,
            codec=PickleCodec(),
            outbox=self.outbox,
            slots=self.slots,
            clock=self.clock,
            max_unacknowledged_bytes=max_unacknowledged_bytes,
        )
        self.attempts = Attempts(
            execute=Execute(
                models={"gemini": self.model, "deepseek": self.model},
                images=local_images(self.images, self.clock),
                validators=Validators(),
                progress=self.outbox,
                gate=self.gate,
                keys=self.keys,
                spans=Spans(Tracing(randomness=FixedRandomness()), provider_urls={"gemini": "https://provider"}),
                clock=self.clock,
            ),
            reporter=self.reporter,
            outbox=self.outbox,
            slots=self.slots,
            clock=self.clock,
        )
        self.receiver = Receiver(
            dialer=self.schedulers,
            hello=Hello(executor_id="e1", host="h", version="1", capacity=capacity, lanes=lanes),
            lanes=self.keys,
            attempts=self.attempts,
            gate=self.gate,
            reporter=self.reporter,
            outbox=self.outbox,
            slots=self.slots,
            clock=self.clock,
            randomness=FixedRandomness(),
            on_connected=self._on_connected,
        )

    async def _on_connected(self, *, connected: bool) -> None:
        self.connected.append(connected)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["World"]:
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(loop.run()) for loop in (self.reporter, self.attempts, self.keys, self.receiver)]
            yield self
            for loop in loops:
                loop.cancel()


def in_world(scenario: Callable[[World], Awaitable[None]], **options: object) -> None:
    """Run a scenario against a running executor, in virtual time."""

    async def main() -> None:
        async with asyncio.timeout(3600), World(**options).running() as world:  # type: ignore[arg-type]
            await scenario(world)

    run(main())
