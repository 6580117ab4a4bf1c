import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence

import pytest
from stores import CLIENT, IMAGE, IMAGE_REF, LANE, NEW_IMAGE, FakeTime, back, new_job, submit, success

from runtime.clock import SystemClock
from runtime.randomness import SystemRandomness
from runtime.tracing import Tracing
from scheduler.dispatch import Dispatcher
from scheduler.errors import StoreUnavailable
from scheduler.fleet import Assignment, Credit, Fleet, Session
from scheduler.image_cache import ImageCache
from scheduler.jobs import JobState
from scheduler.memory_store import MemoryStore
from scheduler.ports import AttemptId, ClaimedJob, ExecutorInfo, Head, Slots
from scheduler.watch import WatchHub


class FlakyStore(MemoryStore):
    """A store that is away for its first `failures` looks, and does something else during a claim."""

    failures = 0

    def meanwhile(self) -> None:
        """Replaced by tests."""

    async def claim(self, lane: str, slots: Sequence[Slots], *, max_rank: int, thorough: bool) -> Sequence[ClaimedJob]:
        claimed = await super().claim(lane, slots, max_rank=max_rank, thorough=thorough)
        self.meanwhile()
        return claimed

    async def lane_heads(self, *, thorough: bool) -> Sequence[Head]:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        return await super().lane_heads(thorough=thorough)


class ImpatientClock(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Bench:
    def __init__(self) -> None:
        self.time = FakeTime()
        self.store = FlakyStore(clock=self.time)
        self.fleet = Fleet()
        self.dispatcher = Dispatcher(
            store=self.store,
            time=self.time,
            clock=ImpatientClock(),
            fleet=self.fleet,
            images=ImageCache(),
            hub=WatchHub(),
            tracing=Tracing(randomness=SystemRandomness()),
            give_back=self._give_back,
        )

    async def _give_back(self, attempts: Collection[AttemptId]) -> None:
        await self.store.give_back([back(attempt, self.time) for attempt in attempts])

    async def connect(self, executor_id: str = "e1", *, slots: int, lanes: tuple[str, ...] = ("gemini/*",)) -> Session:
        info = ExecutorInfo(executor_id=executor_id, host="h", version="1", capacity=slots, lanes=lanes)
        session = Session(info=info, number=(await self.store.register(info, ())).session)
        session.set_credit(Credit(slots, 0))
        self.fleet.add(session)
        return session

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            loop = tasks.create_task(self.dispatcher.run())
            yield
            loop.cancel()


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def assigned(session: Session, count: int) -> list[Assignment]:
    """Return the next assignments, waiting for that many."""
    found: list[Assignment] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found += [item for item in await session.outbox.take() if isinstance(item, Assignment)]
    return found


async def test_a_woken_dispatcher_hands_out_the_best_jobs_up_to_the_credit(bench: Bench) -> None:
    session = await bench.connect(slots=2)
    low, high, normal = await submit(bench.store, bench.time, 3, 1, 2)
    async with bench.running():
        bench.dispatcher.wake()
        jobs = await assigned(session, 2)

    assert [item.job.attempt_id.job_id for item in jobs] == [high, normal]
    assert session.free_slots == 0
    assert (await bench.store.get_jobs(CLIENT, [low], attempts=False))[low].state is JobState.QUEUED


async def test_small_images_go_along(bench: Bench) -> None:
    session = await bench.connect(slots=1)
    await bench.store.put_images(CLIENT, [NEW_IMAGE])
    await submit(bench.store, bench.time)
    async with bench.running():
        bench.dispatcher.wake()
        [job] = await assigned(session, 1)

    assert job.images == {IMAGE_REF.sha256: IMAGE}


async def test_jobs_are_spread_over_the_executors(bench: Bench) -> None:
    first, second = await bench.connect("e1", slots=3), await bench.connect("e2", slots=3)
    await submit(bench.store, bench.time, *[2] * 4)
    async with bench.running():
        bench.dispatcher.wake()
        await assigned(first, 2)
        await assigned(second, 2)


async def test_the_better_head_of_two_lanes_goes_first(bench: Bench) -> None:
    session = await bench.connect(slots=1)
    await bench.store.insert_jobs(
        CLIENT, [new_job(bench.time, priority=2), new_job(bench.time, priority=1, model="gemini-3.5-flash")]
    )
    async with bench.running():
        bench.dispatcher.wake()
        [job] = await assigned(session, 1)

    assert job.job.lane == "gemini/gemini-3.5-flash"


async def test_a_lane_that_nobody_serves_holds_up_no_other(bench: Bench) -> None:
    session = await bench.connect(slots=1, lanes=(LANE,))
    await bench.store.insert_jobs(
        CLIENT, [new_job(bench.time, priority=1, model="gemini-3.5-flash"), new_job(bench.time, priority=3)]
    )
    async with bench.running():
        bench.dispatcher.wake()
        [job] = await assigned(session, 1)

    assert job.job.lane == LANE


async def test_a_database_outage_only_delays(bench: Bench) -> None:
    session = await bench.connect(slots=1)
    await submit(bench.store, bench.time)
    bench.store.failures = 2
    async with bench.running():
        while bench.store.failures:
            bench.dispatcher.wake()
            await asyncio.sleep(0)
        bench.dispatcher.wake()
        assert len(await assigned(session, 1)) == 1


async def test_slots_that_found_no_job_are_free_again(bench: Bench) -> None:
    session = await bench.connect(slots=3)
    await submit(bench.store, bench.time)
    async with bench.running():
        bench.dispatcher.wake()
        await assigned(session, 1)

    assert session.free_slots == 2


async def test_a_retry_is_dispatched_when_it_is_due(bench: Bench) -> None:
    session = await bench.connect(slots=2)
    await submit(bench.store, bench.time)
    async with bench.running():
        bench.dispatcher.wake()
        [first] = await assigned(session, 1)
        record = back(first.job.attempt_id, bench.time, charged=True, after_seconds=60)
        await bench.store.give_back([record])
        bench.time.pass_by(60)
        assert record.due_time is not None
        bench.dispatcher.expect_due(record.due_time)
        [second] = await assigned(session, 1)

    assert second.job.attempt_id.attempt == 2
    assert await bench.store.finish([success(second.job.attempt_id, bench.time)])


async def test_a_job_claimed_for_a_stream_that_broke_meanwhile_goes_to_another(bench: Bench) -> None:
    gone = await bench.connect("e1", slots=1)
    await submit(bench.store, bench.time)
    bench.store.meanwhile = lambda: bench.fleet.remove(gone)  # type: ignore[method-assign]
    async with bench.running():
        bench.dispatcher.wake()
        while not gone.outbox.closed_because and bench.fleet.has_credit:
            await asyncio.sleep(0)
        other = await bench.connect("e2", slots=1)
        bench.dispatcher.wake()
        [job] = await assigned(other, 1)

    assert job.job.attempt_id.attempt == 2


async def test_a_claim_that_failed_ends_its_streams_so_that_a_hello_brings_back_what_it_took(bench: Bench) -> None:
    session = await bench.connect(slots=1)
    await submit(bench.store, bench.time)

    def fails() -> None:
        raise StoreUnavailable("the answer was lost")

    bench.store.meanwhile = fails  # type: ignore[method-assign]
    async with bench.running():
        bench.dispatcher.wake()
        async with asyncio.timeout(5):
            assert await session.outbox.take() == []

    assert session.outbox.closed_because
    assert not bench.fleet.has_credit
