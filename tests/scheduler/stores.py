"""What tests of the store say again and again."""

import dataclasses
import datetime
import hashlib
from collections.abc import Awaitable, Callable

from runtime.randomness import SystemRandomness
from scheduler.job_ids import JobIds
from scheduler.jobs import AttemptOutcome, ImageRef, Job, JobError, JobSpec, JobState, NewImage, NewJob, Stage, Usage
from scheduler.ports import (
    AttemptId,
    AttemptRecord,
    ClaimedJob,
    ExecutorInfo,
    FinalRecord,
    ReturnRecord,
    Slots,
    Store,
    StoreClock,
)

Age = Callable[[datetime.timedelta], Awaitable[None]]

CLIENT = "client"
LANE = "gemini/gemini-3.8-flash"
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
    model="gemini-3.8-flash",
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


def new_job(time: StoreClock, *, request_id: str = "", spec_hash: bytes = b"spec", **changes: object) -> NewJob:
    now = time.now()
    return NewJob(
        job_id=_ids.next(now),
        spec=dataclasses.replace(SPEC, **changes),  # type: ignore[arg-type]
        request_id=request_id,
        spec_hash=spec_hash,
        create_time=now,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


async def submit(store: Store, time: StoreClock, *priorities: int) -> list[str]:
    """Submit a job of each priority, and return their ids."""
    jobs = [new_job(time, priority=priority) for priority in priorities or (2,)]
    return list(await store.insert_jobs(CLIENT, jobs))


async def see(store: Store, job_id: str) -> Job:
    """Return the job as its client sees it, with its attempts."""
    return (await store.get_jobs(CLIENT, [job_id], attempts=True))[job_id]


def executor(executor_id: str = "e1", *lanes: str) -> ExecutorInfo:
    return ExecutorInfo(executor_id=executor_id, host="host", version="1", capacity=3, lanes=lanes or ("gemini/*",))


async def connect(store: Store, executor_id: str = "e1", *, held: tuple[AttemptId, ...] = ()) -> int:
    """Let an executor say hello, and return its session."""
    return (await store.register(executor(executor_id), held)).session


async def claim(store: Store, count: int = 10, *, executor_id: str = "e1", session: int = 1) -> list[ClaimedJob]:
    return list(await store.claim(LANE, [Slots(executor_id, session, count)], max_rank=3, thorough=False))


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


def success(attempt: AttemptId, time: StoreClock, *, cost_usd: float = 0.5) -> FinalRecord:
    return FinalRecord(
        record=record(attempt, time, AttemptOutcome.SUCCEEDED, cost_usd=cost_usd),
        state=JobState.SUCCEEDED,
        output_json='{"a":1}',
    )


def failure(attempt: AttemptId, time: StoreClock) -> FinalRecord:
    return FinalRecord(record=record(attempt, time, AttemptOutcome.FAILED), state=JobState.FAILED)


def back(
    attempt: AttemptId,
    time: StoreClock,
    *,
    charged: bool = False,
    after_seconds: float | None = None,
    cost_usd: float = 0.0,
) -> ReturnRecord:
    due = None if after_seconds is None else time.now() + datetime.timedelta(seconds=after_seconds)
    return ReturnRecord(
        record=record(attempt, time, AttemptOutcome.FAILED, cost_usd=cost_usd), charged=charged, due_time=due
    )
