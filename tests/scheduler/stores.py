"""What tests of the store say again and again."""

import dataclasses
import datetime
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from runtime.randomness import SystemRandomness
from scheduler.job_ids import JobIds
from scheduler.jobs import (
    AttemptOutcome,
    ImageRef,
    Job,
    JobError,
    JobSpec,
    JobState,
    NewImage,
    NewJob,
    PostProcess,
    Stage,
    Usage,
)
from scheduler.lanes import Lane
from scheduler.ports import Store, StoreClock
from scheduler.records import (
    Accepted,
    AdvanceRecord,
    AttemptId,
    AttemptRecord,
    ClaimedJob,
    Ended,
    ExecutorInfo,
    FinalRecord,
    ReturnRecord,
    RunningAttempt,
    RunningJob,
    Slots,
    UsageQuery,
    UsageRow,
)

Age = Callable[[datetime.timedelta], Awaitable[None]]

CLIENT = "client"
MODEL = "gemini-3.8-flash"
LANE = f"gemini/{MODEL}"
SECOND_MODEL = "deepseek-v4-flash"
SECOND_LANE = f"deepseek/{SECOND_MODEL}"
SECOND = PostProcess(model=SECOND_MODEL, prompt="Shorten it.", schema_json='{"type": "array"}', schema_is_struct=False)
KEY = b"the key of identical requests"
IMAGE = b"the bytes of an image"
IMAGE_REF = ImageRef(sha256=hashlib.sha256(IMAGE).hexdigest(), mime_type="image/png", size=len(IMAGE))
NEW_IMAGE = NewImage(ref=IMAGE_REF, data=IMAGE)
ERROR = JobError(kind="PROVIDER_ERROR", message="503", retryable=True)
SPEC = JobSpec(
    user_id="user",
    images=(IMAGE_REF,),
    prompt="What is this?",
    system_instruction="",
    schema_json='{"type": "object"}',
    schema_is_struct=False,
    model=MODEL,
    priority=2,
    timeout=datetime.timedelta(minutes=5),
    max_retries=3,
)

_ids = JobIds(randomness=SystemRandomness())


class FakeTime:
    """A clock that is moved by hand; a microsecond passes at each look, so no two times are equal by accident."""

    def __init__(self) -> None:
        self._now = datetime.datetime.now(datetime.UTC)

    def now(self) -> datetime.datetime:
        self._now += datetime.timedelta(microseconds=1)
        return self._now

    def pass_by(self, seconds: float) -> None:
        self._now += datetime.timedelta(seconds=seconds)


def new_job(
    time: StoreClock,
    *,
    request_id: str = "",
    spec_hash: bytes = b"spec",
    dedup_key: bytes | None = None,
    **changes: Any,
) -> NewJob:
    """Return a job that uses no image unless `images` are among the changes of its spec."""
    now = time.now()
    return NewJob(
        job_id=_ids.next(now),
        spec=dataclasses.replace(SPEC, **({"images": ()} | changes)),
        request_id=request_id,
        spec_hash=spec_hash,
        create_time=now,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        dedup_key=dedup_key,
    )


async def insert(store: Store, client_id: str, jobs: Sequence[NewJob]) -> list[str]:
    """Submit jobs, and return the ids of those that stand for them."""
    return ids(await store.insert_jobs(client_id, jobs))


def ids(accepted: Sequence[Accepted]) -> list[str]:
    return [each.job_id for each in accepted]


async def submit(store: Store, time: StoreClock, *priorities: int) -> list[str]:
    """Submit a job of each priority, and return their ids."""
    return await insert(store, CLIENT, [new_job(time, priority=priority) for priority in priorities or (2,)])


async def submit_alike(store: Store, time: StoreClock, *priorities: int, **changes: Any) -> list[str]:
    """Submit identical requests, one after the other."""
    return [
        (await insert(store, CLIENT, [new_job(time, dedup_key=KEY, priority=priority, **changes)]))[0]
        for priority in priorities
    ]


async def see(store: Store, job_id: str) -> Job:
    """Return the job as its client sees it, with its attempts."""
    return (await store.get_jobs(CLIENT, [job_id], attempts=True))[job_id]


def executor(executor_id: str = "e1", *lanes: str) -> ExecutorInfo:
    return ExecutorInfo(executor_id=executor_id, host="host", version="1", capacity=3, lanes=lanes or ("gemini/*",))


async def connect(store: Store, executor_id: str = "e1", *, held: tuple[AttemptId, ...] = ()) -> int:
    """Let an executor say hello, and return its session."""
    return (await store.register(executor(executor_id), held)).session


async def claim(
    store: Store,
    count: int = 10,
    *,
    lane: str = LANE,
    executor_id: str = "e1",
    session: int = 1,
    thorough: bool = False,
) -> list[ClaimedJob]:
    return list(await store.claim(lane, [Slots(executor_id, session, count)], max_rank=3, thorough=thorough))


def told(ended: Ended) -> tuple[set[AttemptId], list[str], list[RunningAttempt]]:
    """Return what an end told, in a form that can be compared."""
    return set(ended.attempts), sorted(ended.changed), list(ended.to_stop)


def running_job(**changes: Any) -> RunningJob:
    """Return what must be known of a job that just began to run."""
    expected = RunningJob(
        lane=LANE,
        executor_id="e1",
        session=1,
        stage=Stage.STARTING,
        retry_count=0,
        max_retries=3,
        paid_calls=0,
        preparing_deaths=0,
        expire_time=None,
    )
    return dataclasses.replace(expected, **changes)


def record(attempt: AttemptId, time: StoreClock, outcome: AttemptOutcome, *, cost_usd: float = 0.0) -> AttemptRecord:
    succeeded = outcome is AttemptOutcome.SUCCEEDED
    return AttemptRecord(
        attempt_id=attempt,
        outcome=outcome,
        finish_time=time.now(),
        error=None if succeeded else ERROR,
        usage=Usage(input_tokens=1_200, output_tokens=30) if succeeded else None,
        cost_usd=cost_usd,
        model_version="gemini-3.8-flash" if succeeded else "",
        stage_seconds={Stage.GEMINI_ANALYZING: 1.5},
        paid=succeeded,
    )


def success(
    attempt: AttemptId, time: StoreClock, *, cost_usd: float = 0.5, output: str = '{"a":1}', step: int = 1
) -> FinalRecord:
    return FinalRecord(
        record=record(attempt, time, AttemptOutcome.SUCCEEDED, cost_usd=cost_usd),
        state=JobState.SUCCEEDED,
        output_json=output,
        step=step,
    )


def passed(
    attempt: AttemptId, time: StoreClock, *, cost_usd: float = 0.25, output: str = '{"first":1}', step: int = 1
) -> AdvanceRecord:
    """Return the success of a step that is not the last."""
    return AdvanceRecord(
        record=record(attempt, time, AttemptOutcome.SUCCEEDED, cost_usd=cost_usd), output_json=output, step=step
    )


async def claim_second_step(store: Store, time: StoreClock, **changes: Any) -> ClaimedJob:
    """Submit a job of two steps, let its first one succeed, and claim the second."""
    await insert(store, CLIENT, [new_job(time, post_process=SECOND, **changes)])
    [first] = await claim(store, 1)
    await store.advance([passed(first.attempt_id, time)])
    [second] = await claim(store, 1, lane=SECOND_LANE)
    return second


def failure(attempt: AttemptId, time: StoreClock, error: JobError | None = None) -> FinalRecord:
    return FinalRecord(record=record(attempt, time, AttemptOutcome.FAILED), state=JobState.FAILED, error=error)


async def fail(store: Store, time: StoreClock, error: JobError = ERROR) -> list[str]:
    """Let the job that comes next fail for good; return the jobs that are in another state."""
    [job] = await claim(store, 1)
    return sorted((await store.finish([failure(job.attempt_id, time, error)])).changed)


def back(
    attempt: AttemptId,
    time: StoreClock,
    *,
    charged: bool = False,
    after_seconds: float | None = None,
    cost_usd: float = 0.0,
    session: int | None = None,
) -> ReturnRecord:
    due = None if after_seconds is None else time.now() + datetime.timedelta(seconds=after_seconds)
    return ReturnRecord(
        record=record(attempt, time, AttemptOutcome.FAILED, cost_usd=cost_usd),
        charged=charged,
        due_time=due,
        session=session,
    )


def lost(
    attempt: AttemptId,
    time: StoreClock,
    *,
    session: int | None = None,
    paid: bool = False,
    unanswered: bool = False,
    died_preparing: bool = False,
) -> ReturnRecord:
    """Return what a rescue makes of an attempt."""
    return ReturnRecord(
        record=dataclasses.replace(record(attempt, time, AttemptOutcome.LOST), paid=paid, unanswered=unanswered),
        charged=False,
        due_time=None,
        died_preparing=died_preparing,
        session=session,
    )


async def lane(store: Store) -> Lane:
    """Return the lane that the jobs of these tests wait in."""
    return next(each for each in await store.lanes() if each.name == LANE)


async def change(store: Store, **changes: Any) -> Lane:
    """Change that lane."""
    changed = await store.change_lane(LANE, lambda known: (dataclasses.replace(known, **changes), None))
    assert changed is not None
    return changed[0]


async def used(store: Store, *group_by: str) -> dict[tuple[str, ...], UsageRow]:
    """Return what the client used until now, by the values of its groups."""
    query = UsageQuery(from_day=datetime.date(2000, 1, 1), to_day=datetime.date(3000, 1, 1), group_by=group_by)
    rows = await store.usage(CLIENT, query, limit=1_000)
    return {tuple(row.group.values()): row for row in rows}
