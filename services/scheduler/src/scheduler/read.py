"""Reads jobs as callers see them: with the reason why they wait."""

import base64
import dataclasses
import hashlib
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from scheduler.board import Board
from scheduler.errors import InvalidRequest, JobNotFound, Violation
from scheduler.job_ids import normalised
from scheduler.jobs import Job, JobState
from scheduler.ports import JobReader, StoreClock
from scheduler.recent import RecentJobs
from scheduler.records import JobQuery
from scheduler.waiting import wait_of

MAX_BATCH = 100
DEFAULT_PAGE = 50
MAX_PAGE = 1_000
MAX_WATCHED = 1_000
_IDS_AT_ONCE = 500


class Read:
    """The use case."""

    def __init__(self, *, store: JobReader, time: StoreClock, board: Board, recent: RecentJobs) -> None:
        self._store = store
        self._time = time
        self._board = board
        self._recent = recent

    async def job(self, client_id: str, job_id: str, *, attempts: bool) -> Job:
        """Return one job. Raises InvalidRequest for a malformed id, JobNotFound."""
        [canonical] = checked_ids([job_id], path="job_id")
        recent = self._recent.get(client_id, canonical)
        if recent is not None:
            return recent if attempts else dataclasses.replace(recent, attempts=())
        generation = self._recent.generation
        [found] = await self.jobs(client_id, [canonical], attempts=attempts)
        if attempts:
            self._recent.put(found, generation)
        return found

    async def jobs(
        self, client_id: str, job_ids: Sequence[str], *, attempts: bool = False, path: str = "job_ids[{index}]"
    ) -> Sequence[Job]:
        """Return the jobs in the order of the ids. Raises as `job`."""
        ids = checked_ids(job_ids, path=path)
        found = await self._store.get_jobs(client_id, ids, attempts=attempts)
        for job_id in ids:
            if job_id not in found:
                raise JobNotFound(job_id)
        return [self.with_wait(found[job_id]) for job_id in ids]

    async def find(self, client_id: str, job_ids: Collection[str]) -> dict[str, Job]:
        """Return those that exist."""
        found = await self._store.get_jobs(client_id, job_ids, attempts=False)
        return {job_id: self.with_wait(job) for job_id, job in found.items()}

    async def page(
        self, client_id: str, query: JobQuery, *, page_size: int, page_token: str, attempts: bool
    ) -> tuple[Sequence[Job], bool]:
        """Return a page of jobs, newest first, and whether there are more. Raises InvalidRequest."""
        if page_size < 0:
            raise InvalidRequest([Violation("page_size", "must not be negative")])
        limit = min(page_size or DEFAULT_PAGE, MAX_PAGE)
        before = read_page_token(page_token, query) if page_token else None
        jobs = await self._store.list_jobs(client_id, query, before=before, limit=limit + 1, attempts=attempts)
        return [self.with_wait(job) for job in jobs[:limit]], len(jobs) > limit

    async def ids(self, client_id: str, query: JobQuery, states: frozenset[JobState]) -> AsyncIterator[Sequence[str]]:
        """Yield the ids of the jobs of a filter that are in these states, newest first, some hundreds at a time."""
        query = dataclasses.replace(query, states=states)
        before = None
        while ids := await self._store.list_ids(client_id, query, before=before, limit=_IDS_AT_ONCE):
            yield ids
            before = ids[-1]

    def with_wait(self, job: Job) -> Job:
        """Add the reason why the job waits."""
        around = self._board.surroundings(job.lane)
        return dataclasses.replace(job, wait=wait_of(job, around, now=self._time.now()))


def checked_ids(job_ids: Sequence[str], *, path: str = "job_ids[{index}]") -> list[str]:
    """Return the ids in canonical form. Raises InvalidRequest, naming every malformed one."""
    violations = []
    ids = []
    for index, job_id in enumerate(job_ids):
        canonical = normalised(job_id)
        if canonical is None:
            violations.append(Violation(path.format(index=index), "is not a job id" if job_id else "is required"))
        else:
            ids.append(canonical)
    if violations:
        raise InvalidRequest(violations)
    return ids


def page_token(last_job_id: str, query: JobQuery) -> str:
    """Return an opaque token for the page after this job, bound to its filter."""
    return base64.urlsafe_b64encode(f"{last_job_id} {_digest(query)}".encode()).decode()


def read_page_token(token: str, query: JobQuery) -> str:
    """Return the id that the page begins after. Raises InvalidRequest."""
    try:
        job_id, digest = base64.urlsafe_b64decode(token.encode()).decode().split(" ")
    except ValueError:
        raise InvalidRequest([Violation("page_token", "is not a page token")]) from None
    before = normalised(job_id)
    if before is None:
        raise InvalidRequest([Violation("page_token", "is not a page token")])
    if digest != _digest(query):
        raise InvalidRequest([Violation("page_token", "belongs to another filter")])
    return before


def _digest(query: JobQuery) -> str:
    labels: Mapping[str, str] = dict(sorted(query.labels.items()))
    text = json.dumps([query.user_id, sorted(query.states), labels])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
