"""Does finished jobs again: a new job each, that names the one it repeats."""

import dataclasses
from collections.abc import Sequence

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
        if not await self._with_images(client_id, [job]):
            raise ImagesGone(job.job_id)
        [again] = await self._submit.again(
            client_id, [_repetition(job, request_id)], traceparent=traceparent, limits=limits
        )
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
            found = (await self._read.find(client_id, ids)).values()
            repeatable = await self._with_images(client_id, [job for job in found if not job.purged])
            if dry_run:
                count += len(repeatable)
                continue
            for repetitions in await self._portions(client_id, repeatable, limits):
                made = await self._submit.again(client_id, repetitions, traceparent=traceparent, limits=limits)
                count += sum(1 for _, job in made if job is not None)
        return count

    async def _portions(
        self, client_id: str, jobs: Sequence[Job], limits: SubmissionLimits
    ) -> Sequence[Sequence[Repetition]]:
        """Return the repetitions of jobs that were not done again today, in portions that a queue of the limit can take.

        Without those that were: a call that a limit ended half way goes on where it stopped, and pays for no job twice.
        """
        repetitions = {f"retry-jobs/{job.job_id}": job for job in jobs}
        known = await self._store.known_requests(client_id, list(repetitions))
        new = [_repetition(job, request_id) for request_id, job in repetitions.items() if request_id not in known]
        size = limits.max_queued or len(new) or 1
        return [new[start : start + size] for start in range(0, len(new), size)]

    async def _with_images(self, client_id: str, jobs: Sequence[Job]) -> list[Job]:
        """Return those jobs whose images are kept; they are kept for longer by that."""
        hashes = {image.sha256 for job in jobs for image in job.spec.images}
        kept = await self._store.find_images(client_id, hashes)
        return [job for job in jobs if all(image.sha256 in kept for image in job.spec.images)]


def _repetition(job: Job, request_id: str) -> Repetition:
    """Return the job as it is submitted again: its times are over, and who repeats a success wants another one."""
    cache = job.spec.cache
    if job.state is JobState.SUCCEEDED and cache is CachePolicy.USE:
        cache = CachePolicy.REFRESH
    spec = dataclasses.replace(job.spec, schedule_time=None, expire_time=None, cache=cache)
    return Repetition(spec=spec, request_id=request_id, retried_from=job.job_id)
