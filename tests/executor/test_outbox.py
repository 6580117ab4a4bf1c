import asyncio

from executor_world import assignment

from devkit.virtual_time import EPOCH, run
from executor.outbox import Outbox
from executor.ports import Progress, Uplink
from executor.slots import Slots
from executor.work import Stage

ATTEMPT, OTHER = assignment(1).attempt_id, assignment(2).attempt_id


def sent_after(*steps: str) -> Uplink:
    """Return the one message that carries all of it."""

    async def main() -> Uplink:
        outbox = Outbox(slots=Slots(capacity=3))
        outbox.open()
        for attempt_id in (ATTEMPT, OTHER):
            outbox.ready(attempt_id)
            outbox.enter(Progress(attempt_id, Stage.WAITING_FOR_PERMIT, EPOCH))
        if "ready" in steps:
            outbox.ready(ATTEMPT)
        if "give back" in steps:
            outbox.give_back(ATTEMPT)
        if "report" in steps:
            outbox.report([(ATTEMPT, b"outcome")])
        async with asyncio.timeout(1):
            return await outbox.take()

    return run(main())


def test_who_is_ready_twice_is_named_once() -> None:
    assert sent_after("ready").ready == [ATTEMPT, OTHER]


def test_what_is_given_back_asks_for_no_permit_any_more() -> None:
    message = sent_after("give back")

    assert (message.ready, message.withdrawn) == ([OTHER], [ATTEMPT])
    assert [each.attempt_id for each in message.progress] == [OTHER]


def test_what_has_ended_asks_for_no_permit_any_more() -> None:
    message = sent_after("report")

    assert (message.ready, message.outcomes) == ([OTHER], [b"outcome"])
    assert [each.attempt_id for each in message.progress] == [OTHER]


def test_nothing_is_kept_while_no_stream_is_open() -> None:
    async def main() -> Uplink:
        outbox = Outbox(slots=Slots(capacity=3))
        outbox.ready(ATTEMPT)
        outbox.give_back(ATTEMPT)
        outbox.open()
        async with asyncio.timeout(1):
            return await outbox.take()

    message = run(main())

    assert (message.ready, message.withdrawn) == ([], [])
