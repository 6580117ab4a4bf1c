"""Why a job waits, in words."""

import fnmatch
from collections.abc import Collection

from scheduler.jobs import Job, JobState, Wait, WaitReason


def wait_of(job: Job, *, served_lanes: Collection[str]) -> Wait | None:
    """Return the first reason that holds, or None if the job does not wait.

    Args:
        job: The job.
        served_lanes: The lanes, or provider/* patterns, that connected executors serve.
    """
    if job.state is JobState.SCHEDULED:
        return _scheduled(job)
    if job.state is not JobState.QUEUED:
        return None
    if not serves(served_lanes, job.spec.lane):
        return Wait(reason=WaitReason.NO_EXECUTOR, message=f"No connected executor serves the lane {job.spec.lane}.")
    return Wait(
        reason=WaitReason.BEHIND_OTHERS,
        message=f"Every executor of the lane {job.spec.lane} is busy, or works on jobs that stand before this one.",
    )


def serves(patterns: Collection[str], lane: str) -> bool:
    """Say whether one of the lanes or provider/* patterns covers the lane."""
    return lane in patterns or any(fnmatch.fnmatchcase(lane, pattern) for pattern in patterns)


def _scheduled(job: Job) -> Wait:
    if job.retry_count or job.attempt:
        return Wait(
            reason=WaitReason.RETRY_BACKOFF,
            message=f"Attempt {job.attempt} did not succeed; the next one follows after a pause.",
            until_time=job.next_attempt_time,
        )
    return Wait(
        reason=WaitReason.SCHEDULED,
        message="Its schedule_time has not come.",
        until_time=job.next_attempt_time,
    )
