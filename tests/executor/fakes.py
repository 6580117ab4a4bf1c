"""Hand-written stand-ins for what an executor's use cases need from outside."""

import asyncio
import contextlib
import datetime
import hashlib
from collections.abc import AsyncIterator, Collection, Sequence

from executor.ports import (
    Answer,
    CallFailed,
    Credit,
    Downlink,
    Heartbeat,
    ImageUnavailable,
    Link,
    LinkBroken,
    Uplink,
    Welcome,
)
from executor.work import Assignment, AttemptId, Generation, ImageRef, Usage

IMAGE = b"the bytes of an image"
IMAGE_REF = ImageRef(hashlib.sha256(IMAGE).hexdigest(), "image/png")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SCHEMA = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'


def attempt_id(number: int = 1, attempt: int = 1) -> AttemptId:
    return AttemptId(f"01990000-0000-7000-8000-{number:012}", attempt)


def assignment(number: int = 1, *, inline: bool = True, timeout_seconds: float = 300) -> Assignment:
    return Assignment(
        attempt_id=attempt_id(number),
        model="gemini-3.8-flash",
        images=[IMAGE_REF],
        inline_images={IMAGE_REF.sha256: IMAGE} if inline else {},
        prompt="What is this?",
        system_instruction="",
        schema_json=SCHEMA,
        generation=Generation(),
        timeout_seconds=timeout_seconds,
        traceparent=TRACEPARENT,
    )


class FakeModel:
    """Answers with `text`, or raises `failure`; `hold` makes calls wait for `go`."""

    def __init__(self, text: str = '{"n": 1}', *, failure: Exception | None = None, hold: bool = False) -> None:
        self.text = text
        self.failure = failure
        self.calls: list[Assignment] = []
        self.called = asyncio.Event()
        self.go = asyncio.Event()
        if not hold:
            self.go.set()

    async def analyze(self, assignment: Assignment, images: Sequence[tuple[str, bytes]]) -> Answer:
        assert list(images) == [("image/png", IMAGE)]
        self.calls.append(assignment)
        self.called.set()
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return Answer(text=self.text, usage=Usage(input_tokens=10), model_version="fake")


class FakeImages:
    """Serves one image; `hold` makes fetches wait for ever."""

    def __init__(self, data: bytes | None = IMAGE, *, hold: bool = False) -> None:
        self.data = data
        self.fetches = 0
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        if not hold:
            self.go.set()

    async def fetch(self, job_id: str, sha256: str) -> bytes:
        self.fetches += 1
        self.asked.set()
        await self.go.wait()
        if self.data is None:
            raise ImageUnavailable("gone")
        return self.data


class FakeClock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> datetime.datetime:
        return datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        wake = asyncio.Event()
        self._sleepers.append((self._seconds + seconds, wake))
        await wake.wait()

    async def pass_by(self, seconds: float) -> None:
        """Let time pass, and everything that waits for it run."""
        end = self._seconds + seconds
        await settle()
        while due := [sleeper for sleeper in self._sleepers if sleeper[0] <= end]:
            first = min(due, key=lambda sleeper: sleeper[0])
            self._sleepers.remove(first)
            self._seconds = max(self._seconds, first[0])
            first[1].set()
            await settle()
        self._seconds = end


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(50):
        await asyncio.sleep(0)


class FakeRandomness:
    def draw(self) -> float:
        return 0.0

    def token(self, size: int) -> bytes:
        return b"\1" * size


class FakeSpool:
    """A disk in memory; `broken` makes it refuse writes."""

    def __init__(self) -> None:
        self.records: dict[AttemptId, bytes] = {}
        self.left_behind: list[tuple[AttemptId, bytes]] = []
        self.broken = False

    async def append(self, records: Sequence[tuple[AttemptId, bytes]]) -> None:
        if self.broken:
            raise OSError("disk full")
        self.records.update(records)

    async def acknowledge(self, attempts: Collection[AttemptId]) -> None:
        for attempt in attempts:
            self.records.pop(attempt, None)

    async def adopt(self) -> Sequence[tuple[AttemptId, bytes]]:
        return self.left_behind


class FakeLink:
    """One stream to a scheduler that the test plays."""

    def __init__(self) -> None:
        self.sent: list[Uplink] = []
        self._incoming: asyncio.Queue[Sequence[Downlink] | None] = asyncio.Queue()
        self.say(Welcome(session=1, heartbeat_seconds=3, superseded=[]))

    def send(self, *items: Uplink) -> None:
        self.sent.extend(items)

    async def receive(self) -> AsyncIterator[Sequence[Downlink]]:
        while (items := await self._incoming.get()) is not None:
            yield items
        raise LinkBroken("cut")

    def say(self, *items: Downlink) -> None:
        self._incoming.put_nowait(items)

    def cut(self) -> None:
        self._incoming.put_nowait(None)

    @property
    def credit(self) -> Credit:
        return [item for item in self.sent if isinstance(item, Credit)][-1]

    @property
    def heartbeats(self) -> list[Heartbeat]:
        return [item for item in self.sent if isinstance(item, Heartbeat)]


class FakeDialer:
    """Hands out the links that the test prepared, one a dial."""

    def __init__(self, *links: FakeLink) -> None:
        self.links = list(links)
        self.dialled: list[str] = []

    @contextlib.asynccontextmanager
    async def dial(self, address: str) -> AsyncIterator[Link]:
        self.dialled.append(address)
        if not self.links:
            await asyncio.Event().wait()
        yield self.links.pop(0)


def refused(verdict: object) -> CallFailed:
    return CallFailed(verdict, paid=False)  # type: ignore[arg-type]
