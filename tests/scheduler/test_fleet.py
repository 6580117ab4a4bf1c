import datetime

from hypothesis import given
from hypothesis import strategies as st
from stores import SPEC

from policies.quota import Ask
from scheduler.fleet import (
    MAX_UNSENT,
    MAX_UNSENT_BYTES,
    Assignment,
    Credit,
    Fleet,
    HeartbeatEcho,
    Held,
    Outbox,
    OutcomeAck,
    Session,
    Withdraw,
)
from scheduler.records import AttemptId, ClaimedJob, ExecutorInfo, Slots

NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
LANE = "gemini/gemini-3.8-flash"
FIRST, SECOND = (
    AttemptId("01990000-0000-7000-8000-000000000000", 1),
    AttemptId("01990000-0000-7000-8000-000000000001", 1),
)


def session(executor_id: str = "e1", *, lanes: tuple[str, ...] = ("gemini/*",), number: int = 1) -> Session:
    return Session(
        info=ExecutorInfo(executor_id=executor_id, host="h", version="1", capacity=3, lanes=lanes), number=number
    )


def fleet_of(free: dict[str, int]) -> Fleet:
    fleet = Fleet()
    for executor_id, slots in free.items():
        member = session(executor_id)
        member.set_credit(Credit(slots, 0))
        fleet.add(member)
    return fleet


def test_an_assignment_on_its_way_is_subtracted_from_the_credit() -> None:
    member = session()
    member.set_credit(Credit(3, 0))
    member.reserve(2)

    assert member.free_slots == 1


def test_credit_sent_before_an_assignment_arrived_gives_no_slot_twice() -> None:
    member = session()
    member.set_credit(Credit(3, 0))
    member.reserve(2)

    member.set_credit(Credit(3, 0))
    assert member.free_slots == 1

    member.set_credit(Credit(1, 2))
    assert member.free_slots == 1


def test_a_session_without_credit_gets_nothing() -> None:
    fleet = Fleet()
    fleet.add(session())

    assert not fleet.has_credit
    assert fleet.reserve(LANE, 10) == []


def test_only_executors_of_the_lane_are_reserved() -> None:
    fleet = fleet_of({"e1": 2})
    other = session("e2", lanes=("deepseek/*",))
    other.set_credit(Credit(5, 0))
    fleet.add(other)

    assert fleet.reserve(LANE, 10) == [Slots("e1", 1, 2)]


def test_a_second_session_of_an_executor_closes_the_first() -> None:
    fleet = Fleet()
    first, second = session(number=1), session(number=2)
    fleet.add(first)
    fleet.add(second)

    assert first.outbox.closed_because
    fleet.remove(first)
    assert fleet.get("e1", 2) is second


@given(
    free=st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 20), max_size=8),
    limit=st.integers(1, 60),
)
def test_reserved_slots_never_exceed_the_limit_nor_what_is_free_and_leave_nothing_unused(
    free: dict[str, int], limit: int
) -> None:
    fleet = fleet_of(free)

    slots = fleet.reserve(LANE, limit)

    assert sum(slot.count for slot in slots) == min(limit, sum(free.values()))
    assert all(0 < slot.count <= free[slot.executor_id] for slot in slots)


@given(limit=st.integers(1, 30))
def test_slots_are_shared_evenly(limit: int) -> None:
    slots = fleet_of({"e1": 10, "e2": 10, "e3": 10}).reserve(LANE, limit)

    counts = [slot.count for slot in slots]
    assert max(counts) - min([*counts, *([0] * (3 - len(counts)))]) <= 1


def holding(*attempts: AttemptId, sent: float = 0.0) -> Session:
    member = session()
    for attempt in attempts:
        member.held[attempt] = Held(lane=LANE, order=(2, 1), ask=Ask(1, 0.0), sent=sent)
    return member


def test_an_assignment_is_unaccepted_until_it_is_accepted_withdrawn_or_dropped() -> None:
    member = holding(FIRST, SECOND, sent=10.0)
    assert member.unaccepted(10.0) == []
    assert member.unaccepted(10.1) == [FIRST, SECOND]

    member.accept([FIRST])
    assert member.unaccepted(99.0) == [SECOND]
    member.withdraw([SECOND])
    assert member.unaccepted(99.0) == []
    member.drop([FIRST, SECOND])
    assert member.unaccepted(99.0) == []


async def test_only_what_is_held_is_withdrawn() -> None:
    member = holding(FIRST)

    member.withdraw([FIRST, SECOND])

    assert await member.outbox.take() == [Withdraw(FIRST)]


async def test_acknowledgements_go_out_in_their_order() -> None:
    member = session()

    member.acknowledge([SECOND, FIRST])

    assert await member.outbox.take() == [OutcomeAck(SECOND), OutcomeAck(FIRST)]


async def test_a_closed_box_is_emptied_first_and_keeps_its_first_reason() -> None:
    box = Outbox()
    box.put(HeartbeatEcho(1))

    box.close("one")
    box.close("another")

    assert await box.take() == [HeartbeatEcho(1)]
    assert await box.take() == []
    assert box.closed_because == "one"


def test_closing_some_slots_ends_their_streams_and_no_others() -> None:
    fleet = fleet_of({"e1": 2, "e2": 2})
    kept = fleet.get("e2", 1)

    fleet.close([Slots("e1", 1, 2), Slots("e2", 7, 1)], "why")

    assert list(fleet.sessions) == [kept]
    assert kept is not None
    assert kept.outbox.closed_because is None


def test_slots_that_were_not_used_are_free_again_unless_the_stream_is_another_one() -> None:
    fleet = fleet_of({"e1": 3})
    fleet.reserve(LANE, 3)

    fleet.unreserve([Slots("e1", 1, 2), Slots("e1", 2, 1), Slots("gone", 1, 1)])

    [member] = fleet.sessions
    assert member.free_slots == 2


def test_a_stop_of_the_scheduler_ends_all_streams() -> None:
    fleet = fleet_of({"e1": 1, "e2": 1})

    fleet.close_all("stopping")

    assert [member.outbox.closed_because for member in fleet.sessions] == ["stopping"] * 2


def test_a_stream_that_begins_after_the_stop_is_ended_too() -> None:
    fleet = fleet_of({})
    fleet.close_all("stopping")
    late = session()

    fleet.add(late)

    assert late.outbox.closed_because == "stopping"


def assignment(image_bytes: int) -> Assignment:
    job = ClaimedJob(
        attempt_id=FIRST,
        executor_id="e1",
        session=1,
        client_id="client",
        lane=LANE,
        rank=2,
        seq=1,
        step=1,
        spec=SPEC,
        retry_count=0,
        permit_required=False,
        traceparent="",
        queued_time=NOW,
        start_time=NOW,
    )
    return Assignment(job=job, spec=SPEC, images={"hash": bytes(image_bytes)}, traceparent="", start_within=None)


async def test_an_executor_that_does_not_read_gets_no_more_work_than_it_can_be_waited_for() -> None:
    member = session()
    member.set_credit(Credit(1_000_000, 0))
    sent = 0
    while member.free_slots:
        member.reserve(1)
        member.outbox.put(assignment(1024 * 1024))
        sent += 1

    assert sent == MAX_UNSENT_BYTES // 1024**2 + 1
    # What was taken is still on its way until more is asked for.
    await member.outbox.take()
    assert not member.free_slots
    member.outbox.put(HeartbeatEcho(1))
    await member.outbox.take()
    assert member.free_slots


async def test_an_executor_that_does_not_read_is_dropped_before_its_messages_fill_the_memory() -> None:
    outbox = Outbox()
    for number in range(MAX_UNSENT + 100):
        outbox.put(HeartbeatEcho(number))

    assert outbox.closed_because == "The executor does not read what it is sent."
    assert await outbox.take() == []


async def test_nothing_is_kept_for_a_stream_that_ends() -> None:
    outbox = Outbox()
    outbox.put(HeartbeatEcho(1))
    outbox.close("The scheduler stops.")
    outbox.put(HeartbeatEcho(2))

    assert await outbox.take() == [HeartbeatEcho(1)]
    assert await outbox.take() == []
