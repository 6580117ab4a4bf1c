import asyncio
from datetime import timedelta

import pytest
from fake_answers import failure, job_message, succeeded
from fake_scheduler import FakeScheduler, serve
from hypothesis import given
from hypothesis import strategies as st

import visionjobs
from visionjobs import AsyncClient, Image, JobSpec, JobState
from visionjobs.retrying import pause_seconds

SOON = failure("UNAVAILABLE", "The database is away.", reason="STORE_UNAVAILABLE", retry_after=timedelta(seconds=0.3))
NOT_SOON = failure("UNAVAILABLE", "The breaker is open.", reason="BREAKER_OPEN", retry_after=timedelta(minutes=5))


def spec(*, fail_fast: bool = False) -> JobSpec:
    return JobSpec(
        user_id="u",
        images=[Image(data=b"png")],
        prompt="Read.",
        response_schema={"type": "object"},
        fail_fast=fail_fast,
    )


class Retries:
    """Notes what `on_retry` is told."""

    def __init__(self) -> None:
        self.told: list[tuple[visionjobs.RpcError, timedelta]] = []

    def __call__(self, error: visionjobs.RpcError, pause: timedelta) -> None:
        self.told.append((error, pause))


async def test_a_submission_is_repeated_under_the_same_id_after_the_time_the_scheduler_asks_for(
    scheduler: FakeScheduler,
) -> None:
    scheduler.failures.extend([SOON, SOON])
    retries = Retries()

    async with AsyncClient(scheduler.address, on_retry=retries) as client:
        job = await client.submit(spec())

    assert job.job_id == "job-1"
    assert len(scheduler.requests) == 3
    assert len({request.request_id for request in scheduler.requests}) == 1
    assert all(pause >= timedelta(seconds=0.3) for _, pause in retries.told)
    assert [error.reason for error, _ in retries.told] == ["STORE_UNAVAILABLE", "STORE_UNAVAILABLE"]


async def test_reads_and_uploads_are_repeated_too(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.jobs["j"] = job_message("j")

    scheduler.failures.append(SOON)
    assert (await client.get("j")).job_id == "j"
    scheduler.failures.append(SOON)
    assert [job.job_id async for job in client.list()] == ["j"]
    scheduler.failures.append(SOON)
    assert (await client.upload_image(b"png")).sha256


async def test_other_errors_are_not_repeated(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.failures.append(failure("INTERNAL", "Broken."))

    with pytest.raises(visionjobs.RpcError, match="Broken"):
        await client.get("j")

    assert len(scheduler.requests) == 1


async def test_a_time_to_wait_beyond_the_timeout_is_not_waited_for(scheduler: FakeScheduler) -> None:
    scheduler.failures.append(NOT_SOON)
    retries = Retries()

    async with AsyncClient(scheduler.address, on_retry=retries) as client:
        with pytest.raises(visionjobs.Unavailable, match="breaker") as caught:
            await client.submit(spec())

    assert caught.value.retry_after == timedelta(minutes=5)
    assert retries.told == []


async def test_a_submission_that_wants_to_fail_fast_takes_the_refusal_as_the_answer(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    scheduler.failures.append(SOON)

    with pytest.raises(visionjobs.Unavailable):
        await client.submit(spec(fail_fast=True))

    assert len(scheduler.requests) == 1


async def test_who_submits_too_fast_waits_as_long_as_the_scheduler_asks(scheduler: FakeScheduler) -> None:
    too_fast = failure(
        "RESOURCE_EXHAUSTED", "5 jobs per second.", reason="RATE_LIMITED", retry_after=timedelta(seconds=0.3)
    )
    overloaded = failure("UNAVAILABLE", "For a moment.", reason="OVERLOADED", retry_after=timedelta(seconds=0.3))
    scheduler.failures.extend([too_fast, overloaded])
    retries = Retries()

    async with AsyncClient(scheduler.address, on_retry=retries) as client:
        assert (await client.submit(spec())).job_id == "job-1"

    assert [error.reason for error, _ in retries.told] == ["RATE_LIMITED", "OVERLOADED"]
    assert all(pause >= timedelta(seconds=0.3) for _, pause in retries.told)


async def test_too_fast_for_longer_than_the_timeout_is_an_error(scheduler: FakeScheduler) -> None:
    scheduler.failures.append(
        failure("RESOURCE_EXHAUSTED", "1 job a minute.", reason="RATE_LIMITED", retry_after=timedelta(minutes=1))
    )

    async with AsyncClient(scheduler.address) as client:
        with pytest.raises(visionjobs.ResourceExhausted) as caught:
            await client.submit(spec())

    assert (caught.value.reason, caught.value.retry_after) == ("RATE_LIMITED", timedelta(minutes=1))


@pytest.mark.parametrize("reason", ["QUEUE_FULL", "TOO_MANY_CALLS", ""])
async def test_a_full_queue_is_not_waited_for(scheduler: FakeScheduler, client: AsyncClient, reason: str) -> None:
    scheduler.failures.append(failure("RESOURCE_EXHAUSTED", "Full.", reason=reason, retry_after=timedelta(seconds=0.1)))

    with pytest.raises(visionjobs.ResourceExhausted) as caught:
        await client.submit(spec())

    assert (caught.value.retry_after, len(scheduler.requests)) == (timedelta(seconds=0.1), 1)


async def test_an_unreachable_scheduler_is_unavailable_once_the_timeout_is_over() -> None:
    gone = FakeScheduler()
    await (await serve(gone)).stop(None)

    async with AsyncClient(gone.address, timeout=timedelta(seconds=0.5)) as client:
        with pytest.raises(visionjobs.Unavailable) as caught:
            await client.get("j")

    assert caught.value.reason == ""


async def test_a_call_waits_for_a_scheduler_that_comes_back() -> None:
    fake = FakeScheduler()
    fake.jobs["j"] = job_message("j")
    await (await serve(fake)).stop(None)
    retried = asyncio.Event()

    async with AsyncClient(fake.address, on_retry=lambda *_: retried.set()) as client:
        asked = asyncio.create_task(client.get("j"))
        await retried.wait()
        server = await serve(fake, fake.address)
        assert (await asked).job_id == "j"
        await server.stop(None)


async def test_a_silent_scheduler_is_given_up_after_the_timeout(scheduler: FakeScheduler) -> None:
    scheduler.streams.append([asyncio.Event()])

    async with AsyncClient(scheduler.address, timeout=timedelta(seconds=0.3)) as client:
        with pytest.raises(visionjobs.DeadlineExceeded):
            await anext(client.watch("j"))


async def test_a_watch_may_be_quiet_for_longer_than_the_timeout(scheduler: FakeScheduler) -> None:
    go_on = asyncio.Event()
    scheduler.streams.append([job_message("j"), go_on, succeeded("j")])

    async with AsyncClient(scheduler.address, timeout=timedelta(seconds=0.2)) as client:
        changes = client.watch("j")
        await anext(changes)
        asyncio.get_running_loop().call_later(0.4, go_on.set)
        assert (await anext(changes)).state is JobState.SUCCEEDED
        await changes.aclose()


async def test_a_watch_tells_every_change_until_the_end(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.streams.append([job_message("j"), job_message("j", "RUNNING"), succeeded("j")])

    states = [job.state async for job in client.watch("j")]

    assert states == [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED]


async def test_a_broken_watch_goes_on_and_repeats_nothing(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.streams.extend(
        [
            [job_message("j"), SOON],
            [SOON],
            [job_message("j"), job_message("j", "RUNNING"), SOON],
            [job_message("j", "RUNNING"), succeeded("j")],
        ]
    )

    states = [job.state async for job in client.watch("j")]

    assert states == [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED]
    assert len(scheduler.requests) == 4


async def test_a_watch_survives_the_restart_of_the_scheduler(client: AsyncClient, scheduler: FakeScheduler) -> None:
    restarted = FakeScheduler()
    restarted.streams.extend([[job_message("j"), asyncio.Event()], [succeeded("j")]])
    first = await serve(restarted)

    async with AsyncClient(restarted.address) as watching:
        changes = watching.watch("j")
        assert (await anext(changes)).state is JobState.QUEUED
        await restarted.watching.wait()
        await first.stop(None)
        second = await serve(restarted, restarted.address)
        assert [job.state async for job in changes] == [JobState.SUCCEEDED]
        await second.stop(None)


async def test_a_watch_ends_with_the_final_state_even_if_the_stream_breaks_after_it(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    scheduler.streams.append([succeeded("j"), SOON])

    assert [job.state async for job in client.watch("j")] == [JobState.SUCCEEDED]
    assert len(scheduler.requests) == 1


async def test_a_watch_gives_up_when_the_scheduler_stays_away(scheduler: FakeScheduler) -> None:
    scheduler.streams.append([job_message("j"), NOT_SOON])

    async with AsyncClient(scheduler.address) as client:
        changes = client.watch("j")
        await anext(changes)
        with pytest.raises(visionjobs.Unavailable):
            await anext(changes)


async def test_a_watch_of_an_unknown_job_is_not_repeated(scheduler: FakeScheduler, client: AsyncClient) -> None:
    with pytest.raises(visionjobs.NotFound):
        await anext(client.watch("nobody"))

    assert len(scheduler.requests) == 1


async def test_a_broken_watch_of_many_asks_only_for_those_that_are_not_final(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    scheduler.streams.extend([[succeeded("a"), job_message("b"), SOON], [job_message("b"), succeeded("b")]])

    changes = [(job.job_id, job.state) async for job in client.watch_many(["a", "b"])]

    assert changes == [("a", JobState.SUCCEEDED), ("b", JobState.QUEUED), ("b", JobState.SUCCEEDED)]
    assert [list(request.job_ids) for request in scheduler.requests] == [["a", "b"], ["b"]]


async def test_a_watch_by_labels_ends_when_the_scheduler_ends_it(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.streams.extend([[succeeded("a"), job_message("b"), SOON], [succeeded("a"), succeeded("b")]])

    changes = [job.job_id async for job in client.watch_many(labels={"batch": "7"})]

    assert changes == ["a", "b", "b"]
    assert all(request.labels == {"batch": "7"} for request in scheduler.requests)


async def test_a_failed_job_is_an_error_for_whoever_wants_its_result(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    scheduler.jobs["j"] = job_message("j", "CANCELLED")

    with pytest.raises(visionjobs.JobFailed, match="CANCELLED") as caught:
        await client.result("j")

    assert caught.value.job.state is JobState.CANCELLED


async def test_a_result_is_waited_for_only_so_long(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.streams.append([job_message("j"), asyncio.Event()])

    with pytest.raises(visionjobs.DeadlineExceeded, match="not final"):
        await client.result("j", within=timedelta(seconds=0.2))


@given(
    retries=st.integers(min_value=0, max_value=10_000),
    asked=st.none() | st.timedeltas(min_value=timedelta(0), max_value=timedelta(hours=1)),
    draw=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_a_pause_is_never_shorter_than_asked_and_at_most_a_fifth_longer(
    retries: int, asked: timedelta | None, draw: float
) -> None:
    least = max(asked.total_seconds() if asked else 0.0, 0.2)

    pause = pause_seconds(retries, asked, draw)

    assert least <= pause <= 1.2 * max(least, 5.0)


def test_a_pause_doubles_up_to_five_seconds() -> None:
    assert [pause_seconds(n, None, 0.0) for n in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
