import datetime

from scheduler.jobs import Job, JobSpec, JobState, WaitReason
from scheduler.waiting import serves, wait_of

NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
SPEC = JobSpec(
    user_id="u",
    images=(),
    prompt="p",
    system_instruction="",
    schema_json="{}",
    schema_is_struct=False,
    model="gemini-3.8-flash",
    priority=2,
    timeout=datetime.timedelta(minutes=5),
    max_retries=3,
)


def job(state: JobState, *, attempt: int = 0, next_attempt_time: datetime.datetime | None = None) -> Job:
    return Job(
        job_id="01990000-0000-7000-8000-000000000000",
        client_id="c",
        spec=SPEC,
        traceparent="",
        state=state,
        create_time=NOW,
        attempt=attempt,
        next_attempt_time=next_attempt_time,
    )


def test_a_job_whose_lane_nobody_serves_says_so() -> None:
    wait = wait_of(job(JobState.QUEUED), served_lanes={"deepseek/*"})

    assert wait is not None
    assert wait.reason is WaitReason.NO_EXECUTOR
    assert "gemini/gemini-3.8-flash" in wait.message


def test_a_job_in_a_served_lane_stands_behind_others() -> None:
    wait = wait_of(job(JobState.QUEUED), served_lanes={"gemini/*"})

    assert wait is not None
    assert wait.reason is WaitReason.BEHIND_OTHERS


def test_a_job_after_a_failure_waits_until_its_next_attempt() -> None:
    wait = wait_of(job(JobState.SCHEDULED, attempt=1, next_attempt_time=NOW), served_lanes=())

    assert wait is not None
    assert wait.reason is WaitReason.RETRY_BACKOFF
    assert wait.until_time == NOW


def test_a_running_or_finished_job_does_not_wait() -> None:
    assert wait_of(job(JobState.RUNNING), served_lanes=()) is None
    assert wait_of(job(JobState.SUCCEEDED), served_lanes=()) is None


def test_a_lane_is_served_by_its_name_or_its_providers_pattern() -> None:
    assert serves(["gemini/a"], "gemini/a")
    assert serves(["gemini/*"], "gemini/a")
    assert not serves(["gemini/b", "deepseek/*"], "gemini/a")
