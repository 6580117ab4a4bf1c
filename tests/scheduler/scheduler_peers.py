"""Those who talk to the scheduler in tests: executors, and what they and clients say."""

import asyncio
import struct
from collections.abc import Sequence
from typing import TypeVar

from scheduler_world import World, settle
from stores import executor as executor_info

from scheduler.drafts import ImageDraft, SpecDraft
from scheduler.fleet import (
    Assignment,
    Credit,
    Downlink,
    Heartbeat,
    HeartbeatEcho,
    OutcomeAck,
    Permit,
    Progress,
    Session,
    Stop,
    Uplink,
    Welcome,
    Withdraw,
)
from scheduler.jobs import JobError, Stage, Usage
from scheduler.outcomes import Failed, Outcome, Released, Succeeded, Throttled, Verdict
from scheduler.records import AttemptId
from scheduler.submit import Submission

Item = TypeVar("Item", Assignment, HeartbeatEcho, OutcomeAck, Permit, Stop, Welcome, Withdraw)

_NOTHING = HeartbeatEcho(0)

USAGE = Usage(input_tokens=1_000, output_tokens=100)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">L4sLL5B", 13, b"IHDR", 64, 64, 8, 2, 0, 0, 0)


class Executor:
    """An executor that does nothing by itself."""

    def __init__(self, world: World, session: Session) -> None:
        self.world = world
        self.session = session
        self.heard: list[Downlink] = []
        self.received = 0

    async def say(self, **said: object) -> None:
        await self.world.work.handle(self.session, Uplink(**said))  # type: ignore[arg-type]

    async def hear(self, kind: type[Item], count: int = 1) -> list[Item]:
        """Return the next items of a kind, waiting for that many."""
        found = self._pick(kind, count)
        async with asyncio.timeout(3_600):
            while len(found) < count:
                taken = await self.session.outbox.take()
                assert taken, self.session.outbox.closed_because
                self.heard += taken
                found += self._pick(kind, count - len(found))
        return found

    async def has_heard(self, kind: type[Item]) -> list[Item]:
        """Return the items of a kind that are there."""
        await settle()
        # So that there is something to take in any case.
        self.session.outbox.put(_NOTHING)
        self.heard += [item for item in await self.session.outbox.take() if item is not _NOTHING]
        return self._pick(kind, len(self.heard))

    def _pick(self, kind: type[Item], most: int) -> list[Item]:
        """Take the first items of a kind out of what was heard."""
        found: list[Item] = []
        others: list[Downlink] = []
        for item in self.heard:
            if isinstance(item, kind) and len(found) < most:
                found.append(item)
            else:
                others.append(item)
        self.heard = others
        return found

    async def offer(self, free_slots: int) -> None:
        await self.say(credit=Credit(free_slots, self.received))

    async def receive(self, count: int = 1) -> list[AttemptId]:
        """Return the next attempts, and accept them."""
        attempts = [item.job.attempt_id for item in await self.hear(Assignment, count)]
        self.received += count
        await self.say(accepted=attempts)
        return attempts

    async def enter(self, attempt: AttemptId, stage: Stage) -> None:
        await self.say(progress=[Progress(attempt, stage)])

    async def tell(self, *outcomes: Outcome) -> None:
        await self.say(outcomes=outcomes)

    async def beat(self, *held: AttemptId, number: int = 1) -> None:
        """Send a heartbeat that lists what the executor holds."""
        await self.say(heartbeat=Heartbeat(number=number, held=held))


async def dial(
    world: World, executor_id: str = "e1", *, slots: int = 0, held: Sequence[AttemptId] = (), lanes: Sequence[str] = ()
) -> Executor:
    """Let an executor say hello, and offer slots."""
    peer = Executor(world, await world.work.open(executor_info(executor_id, *lanes), held))
    if slots:
        await peer.offer(slots)
    return peer


def outcome(attempt: AttemptId, verdict: Verdict, **changes: object) -> Outcome:
    fields: dict[str, object] = {
        "usage": None,
        "model_version": "gemini-3.8-flash",
        "stage_seconds": {Stage.GEMINI_ANALYZING: 1.5},
        "paid": False,
        "traceparent": TRACEPARENT,
    }
    return Outcome(attempt_id=attempt, verdict=verdict, **fields | changes)  # type: ignore[arg-type]


def succeeded(attempt: AttemptId, *, output_json: str = '{"a":1}', usage: Usage = USAGE, **changes: object) -> Outcome:
    return outcome(attempt, Succeeded(output_json), usage=usage, paid=True, **changes)


def failed(
    attempt: AttemptId,
    kind: str = "PROVIDER_ERROR",
    *,
    retryable: bool = True,
    flaw: str = "",
    image_sha256: str = "",
    schema_suspected: bool = False,
    **changes: object,
) -> Outcome:
    verdict = Failed(
        JobError(kind=kind, message="503", retryable=retryable),
        flaw=flaw,
        image_sha256=image_sha256,
        schema_suspected=schema_suspected,
    )
    return outcome(attempt, verdict, **changes)


def throttled(attempt: AttemptId, verdict: Throttled) -> Outcome:
    return outcome(attempt, verdict)


def released(attempt: AttemptId) -> Outcome:
    return outcome(attempt, Released("draining"), stage_seconds={})


def draft(**changes: object) -> SpecDraft:
    fields: dict[str, object] = {
        "user_id": "user",
        "images": (ImageDraft(data=PNG, mime_type="image/png"),),
        "prompt": "What is this?",
        "schema_json": '{"type": "object"}',
    }
    return SpecDraft(**fields | changes)  # type: ignore[arg-type]


def submission(request_id: str = "", path: str = "", **changes: object) -> Submission:
    return Submission(draft=draft(**changes), request_id=request_id, path=path, traceparent=TRACEPARENT)
