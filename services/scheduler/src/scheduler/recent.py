"""Jobs that ended lately, in memory: whoever asks for one again and again costs the database nothing.

A final job never changes, but for what a late outcome adds to attempts that were given up, and such jobs are not kept;
and for a purge, which has to say so here.
"""

import cachetools

from runtime.clock import Clock
from scheduler.jobs import AttemptOutcome, Job

MAX_BYTES = 64 * 1024 * 1024
SECONDS = 3_600.0

_FIXED_BYTES = 4_096
_UNFINISHED = (AttemptOutcome.LOST, AttemptOutcome.CANCELLED)


class RecentJobs:
    """Final jobs with their attempts, by id; bounded in bytes and in time."""

    def __init__(self, *, clock: Clock, max_bytes: int = MAX_BYTES, seconds: float = SECONDS) -> None:
        self._max_bytes = max_bytes
        self._generation = 0
        self._jobs: cachetools.TTLCache[str, Job] = cachetools.TTLCache(
            max_bytes, seconds, timer=clock.monotonic, getsizeof=_size
        )

    @property
    def generation(self) -> int:
        """Rises with every purge: what was read before may be outdated by it."""
        return self._generation

    def put(self, job: Job, generation: int) -> None:
        """Keep a job that was read with its attempts in this generation, if it is one that stays as it is."""
        if generation != self._generation:
            return
        settled = all(attempt.outcome not in _UNFINISHED for attempt in job.attempts)
        if job.state.is_final and settled and _size(job) <= self._max_bytes:
            self._jobs[job.job_id] = job

    def get(self, client_id: str, job_id: str) -> Job | None:
        """Return the client's job, if it is here."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.client_id == client_id else None

    def forget_user(self, client_id: str, user_id: str) -> None:
        """Drop the jobs of a user, whose content was removed."""
        self._generation += 1
        for job in list(self._jobs.values()):
            if (job.client_id, job.spec.user_id) == (client_id, user_id):
                self._jobs.pop(job.job_id, None)

    def clear(self) -> None:
        """Drop everything."""
        self._generation += 1
        self._jobs.clear()


def _size(job: Job) -> int:
    """Return about how many bytes a job takes."""
    spec = job.spec
    texts = len(spec.prompt) + len(spec.system_instruction) + len(spec.schema_json)
    if spec.post_process is not None:
        texts += len(spec.post_process.prompt) + len(spec.post_process.schema_json)
    output = len(job.result.output_json) if job.result else 0
    attempts = sum(1_024 + len(attempt.raw_answer) for attempt in job.attempts)
    return _FIXED_BYTES + texts + output + attempts
