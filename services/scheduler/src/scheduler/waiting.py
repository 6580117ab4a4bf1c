"""Why a job waits, in words. The first reason that holds is the one that is told."""

import datetime
import fnmatch
from collections.abc import Collection
from dataclasses import dataclass
from typing import assert_never

from scheduler.jobs import Job, JobState, Wait, WaitReason
from scheduler.lanes import Closure, Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a job waits among.

    Attributes:
        served: The lanes, or provider/* patterns, that connected executors serve.
        lane: The job's lane.
        in_flight: Attempts that run there, where that is limited.
    """

    served: Collection[str]
    lane: Lane
    in_flight: int = 0


def wait_of(job: Job, around: Surroundings, *, now: datetime.datetime) -> Wait | None:
    """Return the first reason that holds, or None if the job does not wait."""
    if job.state is JobState.SCHEDULED:
        return _scheduled(job)
    return _queued(job, around, now) if job.state is JobState.QUEUED else None


def serves(patterns: Collection[str], lane: str) -> bool:
    """Say whether one of the lanes or provider/* patterns covers the lane."""
    return lane in patterns or any(fnmatch.fnmatchcase(lane, pattern) for pattern in patterns)


def _queued(job: Job, around: Surroundings, now: datetime.datetime) -> Wait:
    if job.leader is not None:
        return Wait(
            reason=WaitReason.FOLLOWING,
            message=f"The same request is under way as job {job.leader}; its result counts.",
        )
    lane, name = around.lane, around.lane.name
    closure = lane.closure(now)
    if closure is not None and closure[0] is not Closure.QUOTA:
        return _closed(lane, *closure)
    if not serves(around.served, name):
        return Wait(reason=WaitReason.NO_EXECUTOR, message=f"No connected executor serves the lane {name}.")
    if closure is not None:
        return _closed(lane, *closure)
    return _behind_others(around, now)


def _behind_others(around: Surroundings, now: datetime.datetime) -> Wait:
    lane = around.lane
    limit = lane.limits.max_in_flight
    if limit is not None and around.in_flight >= limit:
        message = f"The lane {lane.name} has as many calls in flight as it may have: {limit}."
        return Wait(reason=WaitReason.QUOTA, message=message)
    due = lane.waits_for_pace(now)
    if due is not None:
        message = f"The limits of the lane {lane.name} are used up for the moment."
        return Wait(reason=WaitReason.QUOTA, message=message, until_time=due)
    return Wait(
        reason=WaitReason.BEHIND_OTHERS,
        message=f"It waits for its turn in the lane {lane.name}: behind other jobs, or for a free slot.",
    )


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


def _closed(lane: Lane, closure: Closure, until: datetime.datetime | None) -> Wait:
    match closure:
        case Closure.PAUSED:
            return Wait(reason=WaitReason.PAUSED, message=f"An operator paused the lane {lane.name}.")
        case Closure.STOPPED:
            return Wait(
                reason=WaitReason.LANE_STOPPED,
                message=f"The lane {lane.name} is stopped until an operator resumes it: {lane.stopped_reason}",
            )
        case Closure.BREAKER if until is not None:
            return Wait(
                reason=WaitReason.CIRCUIT_BREAKER,
                message=f"{lane.breaker.failures or 'Some'} calls in a row failed in the lane {lane.name}; after a pause"
                " a single one tests whether the provider is back.",
                until_time=until,
            )
        case Closure.BREAKER:
            return Wait(
                reason=WaitReason.CIRCUIT_BREAKER,
                message=f"Calls failed in the lane {lane.name}; a single one tests whether the provider is back.",
            )
        case Closure.QUOTA:
            return Wait(
                reason=WaitReason.QUOTA,
                message=f"The provider asked to be left alone in the lane {lane.name}: its quota is used up.",
                until_time=until,
            )
        case _:
            assert_never(closure)
