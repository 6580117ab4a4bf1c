import asyncio
import dataclasses
import datetime
import tracemalloc
from collections.abc import AsyncIterator, Collection

import pytest

from scheduler.errors import Stopping, StoreUnavailable
from scheduler.jobs import Job, JobSpec, JobState, Stage
from scheduler.records import AttemptId
from scheduler.watch import Watch, WatchHub

NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
JOB = Job(
    job_id="01990000-0000-7000-8000-000000000000",
    client_id="c",
    spec=JobSpec(
        user_id="u",
        images=(),
        prompt="p",
        system_instruction="",
        schema_json="{}",
        schema_is_struct=False,
        model="m",
        priority=2,
        timeout=datetime.timedelta(minutes=5),
        max_retries=3,
    ),
    traceparent="",
    state=JobState.QUEUED,
    create_time=NOW,
)
FIRST = AttemptId(JOB.job_id, 1)


class Shelf:
    """The jobs as the store has them; `down` takes it away."""

    def __init__(self, *jobs: Job) -> None:
        self.jobs = {job.job_id: job for job in jobs}
        self.down = False
        self.reads = 0

    def put(self, **changes: object) -> None:
        job = next(iter(self.jobs.values()))
        self.jobs[job.job_id] = dataclasses.replace(job, **changes)  # type: ignore[arg-type]

    async def find(self, client_id: str, job_ids: Collection[str]) -> dict[str, Job]:
        self.reads += 1
        if self.down:
            raise StoreUnavailable("down")
        return {job_id: self.jobs[job_id] for job_id in job_ids}


def watching(shelf: Shelf, hub: WatchHub, *, poll_seconds: float = 60.0, full: bool = False) -> AsyncIterator[Job]:
    return Watch(hub=hub, lookup=shelf, poll_seconds=poll_seconds).jobs("c", list(shelf.jobs), full=full)


async def test_the_present_state_comes_at_once_and_changes_wake_the_watcher() -> None:
    shelf, hub = Shelf(JOB), WatchHub()
    changes = watching(shelf, hub)
    assert (await anext(changes)).state is JobState.QUEUED

    shelf.put(state=JobState.SUCCEEDED, attempt=1)
    hub.job_changed(JOB.job_id)

    assert (await anext(changes)).state is JobState.SUCCEEDED
    assert await anext(changes, None) is None


async def test_stages_are_told_without_reading_the_store_again() -> None:
    shelf, hub = Shelf(dataclasses.replace(JOB, state=JobState.RUNNING, attempt=1)), WatchHub()
    changes = watching(shelf, hub)
    await anext(changes)

    hub.stage_entered(FIRST, Stage.FETCHING_IMAGE, NOW)
    assert (await anext(changes)).stage is Stage.FETCHING_IMAGE
    hub.stage_entered(FIRST, Stage.GEMINI_ANALYZING, NOW)
    assert (await anext(changes)).stage is Stage.GEMINI_ANALYZING

    assert shelf.reads == 1


async def test_a_watcher_never_goes_back() -> None:
    shelf, hub = Shelf(dataclasses.replace(JOB, state=JobState.RUNNING, attempt=2, stage=Stage.VALIDATING)), WatchHub()
    changes = watching(shelf, hub)
    await anext(changes)

    hub.stage_entered(AttemptId(JOB.job_id, 1), Stage.GEMINI_ANALYZING, NOW)
    hub.stage_entered(AttemptId(JOB.job_id, 2), Stage.FETCHING_IMAGE, NOW)
    shelf.put(state=JobState.FAILED)
    hub.job_changed(JOB.job_id)

    assert [job.state async for job in changes] == [JobState.FAILED]


async def test_a_job_that_another_scheduler_finished_is_seen_by_looking() -> None:
    shelf, hub = Shelf(JOB), WatchHub()
    changes = watching(shelf, hub, poll_seconds=0.01)
    await anext(changes)

    shelf.put(state=JobState.SUCCEEDED, attempt=1)

    assert (await anext(changes)).state is JobState.SUCCEEDED


async def test_an_outage_of_the_store_only_delays() -> None:
    shelf, hub = Shelf(JOB), WatchHub()
    changes = watching(shelf, hub, poll_seconds=0.01)
    await anext(changes)
    shelf.down = True
    hub.job_changed(JOB.job_id)

    async def comes_back() -> None:
        reads = shelf.reads
        while shelf.reads < reads + 2:
            await asyncio.sleep(0)
        shelf.put(state=JobState.FAILED, attempt=1)
        shelf.down = False

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(comes_back())
        assert (await anext(changes)).state is JobState.FAILED


async def test_a_watcher_that_leaves_is_forgotten() -> None:
    shelf, hub = Shelf(JOB), WatchHub()
    changes = watching(shelf, hub)
    await anext(changes)

    await changes.aclose()  # type: ignore[attr-defined]

    assert not hub.is_watched(JOB.job_id)


async def test_a_scheduler_that_stops_ends_its_watches() -> None:
    shelf, hub = Shelf(JOB), WatchHub()
    changes = watching(shelf, hub)
    await anext(changes)

    hub.close()

    with pytest.raises(Stopping):
        await anext(changes)


def many(count: int, **changes: object) -> list[Job]:
    return [
        dataclasses.replace(JOB, job_id=f"01990000-0000-7000-8000-{number:012x}", **changes)  # type: ignore[arg-type]
        for number in range(count)
    ]


async def test_a_watch_of_many_jobs_keeps_little_of_them_and_reads_a_few_at_a_time() -> None:
    spec = dataclasses.replace(JOB.spec, prompt="p" * 100_000, system_instruction="s" * 100_000)
    shelf, hub = Shelf(*many(300)), WatchHub()

    class Fresh:
        """Makes texts of its own at each read, as a database does."""

        most = 0

        async def find(self, client_id: str, job_ids: Collection[str]) -> dict[str, Job]:
            self.most = max(self.most, len(job_ids))
            found = await shelf.find(client_id, job_ids)
            return {
                job_id: dataclasses.replace(job, spec=dataclasses.replace(spec, prompt=f"{job_id} {spec.prompt}"))
                for job_id, job in found.items()
            }

    lookup = Fresh()
    changes = Watch(hub=hub, lookup=lookup, poll_seconds=60.0).jobs("c", list(shelf.jobs))
    tracemalloc.start()
    try:
        for _ in range(300):
            assert len((await anext(changes)).spec.prompt) > 100_000
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # Their prompts would take 30 MB.
    assert kept < 8_000_000
    assert lookup.most == 50
    await changes.aclose()  # type: ignore[attr-defined]


async def test_a_watcher_that_does_not_read_costs_no_more_the_more_happens() -> None:
    shelf, hub = Shelf(dataclasses.replace(JOB, state=JobState.RUNNING, attempt=1)), WatchHub()
    changes = watching(shelf, hub)
    await anext(changes)

    tracemalloc.start()
    try:
        for attempt in range(1, 5_000):
            hub.stage_entered(AttemptId(JOB.job_id, attempt), Stage.GEMINI_ANALYZING, NOW)
            hub.job_changed(JOB.job_id)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 10_000
    shelf.put(attempt=4_999)
    assert (await anext(changes)).attempt == 4_999


async def test_the_full_view_has_the_whole_job_at_every_change() -> None:
    shelf, hub = Shelf(dataclasses.replace(JOB, state=JobState.RUNNING, attempt=1)), WatchHub()
    changes = watching(shelf, hub, full=True)
    await anext(changes)

    hub.stage_entered(FIRST, Stage.GEMINI_ANALYZING, NOW)
    job = await anext(changes)

    assert (job.stage, job.spec.prompt) == (Stage.GEMINI_ANALYZING, "p")
