"""Does finished jobs again: a new job each, that names the one it repeats."""

import dataclasses
from collections.abc import Mapping, Sequence

from scheduler.callers import UNLIMITED, SubmissionLimits
from scheduler.cancel import pages_of_ids
from scheduler.errors import ImagesGone, JobIsNotFinal, JobPurged
from scheduler.jobs import CachePolicy, Job, JobState
from scheduler.ports import SubmissionStore
from scheduler.read import Read
from scheduler.records import JobQuery
from scheduler.submit import Repetition, Submit

_FINAL_STATES = frozenset(state for state in JobState if state.is_final)


class Again:
    """The use case."""

    def __init__(self, *, store: SubmissionStore, read: Read, submit: Submit) -> None:
        self._store = store
        self._read = read
        self._submit = submit

    async def job(
        self,
        client_id: str,
        job_id: str,
        *,
        request_id: str,
        traceparent: str,
        limits: SubmissionLimits = UNLIMITED,
    ) -> tuple[str, Job | None]:
        """Return the new job's id, and the job itself as `Submit.jobs` does.

        Raises:
            InvalidRequest: The id or the request_id is malformed.
            JobNotFound: The client has no such job.
            JobIsNotFinal: It has not ended yet.
            JobPurged: Its content was removed.
            ImagesGone: Its images are not kept any more.
            RequestIdReused: The request_id belongs to another submission.
            PriorityNotAllowed, RateLimited, QueueFull: The caller may not submit it, or not now.
            NotAccepting, Stopping: No submissions are taken now.
        """
        job = await self._read.job(client_id, job_id, attempts=False)
        if not job.state.is_final:
            raise JobIsNotFinal(job.job_id, job.state)
        if job.purged:
            raise JobPurged(job.job_id)
        steps = await self._first_steps([job])
        if not await self._with_images(client_id, [job], steps):
            raise ImagesGone(job.job_id)
        repetition = _repetition(job, request_id, steps[job.job_id])
        [again] = await self._submit.again(client_id, [repetition], traceparent=traceparent, limits=limits)
        return again

    async def jobs(
        self,
        client_id: str,
        query: JobQuery,
        *,
        dry_run: bool,
        traceparent: str,
        limits: SubmissionLimits = UNLIMITED,
    ) -> int:
        """Do the jobs of a filter again, and return how many new ones wait; with dry_run only count those that match.

        Without states in the filter those that FAILED are meant. Each job is done again once a day at most, however
        often this is called. Raises as `job`.
        """
        states = (query.states or frozenset({JobState.FAILED})) & _FINAL_STATES
        count = 0
        if not states:
            return count
        async for ids in pages_of_ids(self._read, client_id, query, states):
            found = [job for job in (await self._read.find(client_id, ids)).values() if not job.purged]
            steps = await self._first_steps(found)
            repeatable = await self._with_images(client_id, found, steps)
            if dry_run:
                count += len(repeatable)
                continue
            for repetitions in await self._portions(client_id, repeatable, steps, limits):
                made = await self._submit.again(client_id, repetitions, traceparent=traceparent, limits=limits)
                count += sum(1 for _, job in made if job is not None)
        return count

    async def _portions(
        self, client_id: str, jobs: Sequence[Job], steps: Mapping[str, int], limits: SubmissionLimits
    ) -> Sequence[Sequence[Repetition]]:
        """Return the repetitions of jobs that were not done again today, in portions that a queue of the limit can take.

        Without those that were: a call that a limit ended half way goes on where it stopped, and pays for no job twice.
        """
        repetitions = {f"retry-jobs/{job.job_id}": job for job in jobs}
        known = await self._store.known_requests(client_id, list(repetitions))
        new = [
            _repetition(job, request_id, steps[job.job_id])
            for request_id, job in repetitions.items()
            if request_id not in known
        ]
        size = limits.max_queued or len(new) or 1
        return [new[start : start + size] for start in range(0, len(new), size)]

    async def _first_steps(self, jobs: Sequence[Job]) -> Mapping[str, int]:
        """Return where each job begins again: what its first step gave is paid for, unless a whole success is repeated.

        Of a job that only followed another one to its end nothing is kept.
        """
        later = {job.job_id: job.step for job in jobs if job.step > 1 and job.state is not JobState.SUCCEEDED}
        past = await self._store.past_first_step(later) if later else ()
        return {job.job_id: later[job.job_id] if job.job_id in past else 1 for job in jobs}

    async def _with_images(self, client_id: str, jobs: Sequence[Job], steps: Mapping[str, int]) -> list[Job]:
        """Return those jobs whose images are kept; they are kept for longer by that."""
        needed = {job.job_id: _needed_images(job, steps[job.job_id]) for job in jobs}
        hashes = {sha256 for each in needed.values() for sha256 in each}
        kept = await self._store.find_images(client_id, hashes) if hashes else {}
        return [job for job in jobs if all(sha256 in kept for sha256 in needed[job.job_id])]


def _needed_images(job: Job, step: int) -> set[str]:
    """Return what must be stored: the second step needs no images, and executors fetch those with a uri."""
    return {image.sha256 for image in job.spec.images if image.sha256} if step == 1 else set()


def _repetition(job: Job, request_id: str, step: int) -> Repetition:
    """Return the job as it is submitted again: its times are over, and who repeats a success wants another one."""
    cache = job.spec.cache
    if job.state is JobState.SUCCEEDED and cache is CachePolicy.USE:
        cache = CachePolicy.REFRESH
    spec = dataclasses.replace(job.spec, schedule_time=None, expire_time=None, cache=cache)
    return Repetition(spec=spec, request_id=request_id, retried_from=job.job_id, step=step)
