import dataclasses
import datetime
from collections.abc import Collection, Mapping

import pytest
from stores import LANE, SPEC

from policies.breaker import Breaker
from policies.quota import Limits, Pace
from scheduler.jobs import Job, JobState, Wait, WaitReason
from scheduler.lanes import Lane
from scheduler.waiting import Surroundings, serves, wait_of

NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
SOON = NOW + datetime.timedelta(seconds=30)
LEADER = "01990000-0000-7000-8000-000000000001"
SERVED = ("gemini/*",)

Condition = Mapping[str, object]
"""What may hold a job up: a change of its lane."""

PAUSED: Condition = {"paused": True}
STOPPED: Condition = {"stopped_reason": "Billing is depleted."}
BREAKER: Condition = {"breaker": Breaker(failures=5, open_until=SOON)}
THROTTLED: Condition = {"closed_until": SOON}
PACED: Condition = {"limits": Limits(requests_per_minute=1), "pace": Pace(next_permit_time=SOON)}


def job(state: JobState = JobState.QUEUED, **changes: object) -> Job:
    plain = Job(
        job_id="01990000-0000-7000-8000-000000000000",
        client_id="c",
        spec=SPEC,
        traceparent="",
        state=state,
        create_time=NOW,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def wait(waiting: Job, *conditions: Condition, served: Collection[str] = SERVED) -> Wait:
    lane = Lane(name=LANE)
    for changes in conditions:
        lane = dataclasses.replace(lane, **changes)  # type: ignore[arg-type]
    found = wait_of(waiting, Surroundings(served=served, lane=lane), now=NOW)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("leader", "conditions", "served", "reason"),
    [
        (LEADER, (PAUSED, STOPPED, BREAKER, THROTTLED, PACED), (), WaitReason.FOLLOWING),
        (None, (PAUSED, STOPPED, BREAKER, THROTTLED, PACED), (), WaitReason.PAUSED),
        (None, (STOPPED, BREAKER, THROTTLED, PACED), (), WaitReason.LANE_STOPPED),
        (None, (BREAKER, THROTTLED, PACED), (), WaitReason.CIRCUIT_BREAKER),
        (None, (THROTTLED, PACED), (), WaitReason.NO_EXECUTOR),
        (None, (THROTTLED,), SERVED, WaitReason.QUOTA),
        (None, (PACED,), SERVED, WaitReason.QUOTA),
        (None, (), SERVED, WaitReason.BEHIND_OTHERS),
    ],
)
def test_the_first_reason_that_holds_is_the_one_that_is_told(
    leader: str | None, conditions: tuple[Condition, ...], served: tuple[str, ...], reason: WaitReason
) -> None:
    assert wait(job(leader=leader), *conditions, served=served).reason is reason


@pytest.mark.parametrize("leader", [None, LEADER])
def test_a_job_that_waits_for_a_time_says_nothing_of_its_lane(leader: str | None) -> None:
    scheduled = job(JobState.SCHEDULED, leader=leader, next_attempt_time=SOON)

    found = wait(scheduled, PAUSED)

    assert (found.reason, found.until_time) == (WaitReason.SCHEDULED, SOON)


@pytest.mark.parametrize("counts", [{"attempt": 1}, {"attempt": 1, "retry_count": 1}])
def test_a_job_after_a_failure_waits_until_its_next_attempt(counts: dict[str, int]) -> None:
    found = wait(job(JobState.SCHEDULED, next_attempt_time=SOON, **counts))

    assert (found.reason, found.until_time) == (WaitReason.RETRY_BACKOFF, SOON)


@pytest.mark.parametrize(
    ("conditions", "until"),
    [((BREAKER,), SOON), ((THROTTLED,), SOON), ((PACED,), SOON), ((PAUSED,), None), ((STOPPED,), None), ((), None)],
)
def test_the_end_of_a_wait_is_told_where_it_is_known(
    conditions: tuple[Condition, ...], until: datetime.datetime | None
) -> None:
    assert wait(job(), *conditions).until_time == until


def test_a_half_open_breaker_has_no_end_but_is_a_reason() -> None:
    half_open: Condition = {
        "breaker": Breaker(failures=5, open_until=NOW - datetime.timedelta(seconds=1), probe=("x", 1))
    }

    found = wait(job(), half_open)

    assert (found.reason, found.until_time) == (WaitReason.CIRCUIT_BREAKER, None)


@pytest.mark.parametrize("condition", [THROTTLED, PACED])
def test_a_limit_whose_time_is_over_is_no_reason(condition: Condition) -> None:
    lane = dataclasses.replace(Lane(name=LANE), **condition)  # type: ignore[arg-type]

    found = wait_of(job(), Surroundings(served=SERVED, lane=lane), now=SOON)

    assert found is not None
    assert found.reason is WaitReason.BEHIND_OTHERS


def test_the_message_names_the_lane_and_what_a_person_needs_to_know() -> None:
    assert LANE in wait(job(), served=()).message
    assert "Billing is depleted." in wait(job(), STOPPED).message
    assert LEADER in wait(job(leader=LEADER)).message
    assert "5 calls in a row" in wait(job(), BREAKER).message


@pytest.mark.parametrize("state", [state for state in JobState if state >= JobState.RUNNING])
def test_a_running_or_finished_job_does_not_wait(state: JobState) -> None:
    around = Surroundings(served=(), lane=Lane(name=LANE, paused=True))

    assert wait_of(job(state), around, now=NOW) is None


def test_a_lane_is_served_by_its_name_or_its_providers_pattern() -> None:
    assert serves(["gemini/a"], "gemini/a")
    assert serves(["gemini/*"], "gemini/a")
    assert not serves(["gemini/b", "deepseek/*"], "gemini/a")


@pytest.mark.parametrize(("in_flight", "reason"), [(2, WaitReason.BEHIND_OTHERS), (3, WaitReason.QUOTA)])
def test_a_lane_with_as_many_calls_in_flight_as_it_may_have_waits_for_its_quota(
    in_flight: int, reason: WaitReason
) -> None:
    lane = Lane(name=LANE, limits=Limits(max_in_flight=3))

    found = wait_of(job(), Surroundings(served=SERVED, lane=lane, in_flight=in_flight), now=NOW)

    assert found is not None
    assert found.reason is reason
