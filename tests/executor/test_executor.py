"""A whole executor, wired as in production, with its sockets and files replaced by arguments."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from executor_world import (
    FakeImages,
    FakeLink,
    FakeModel,
    FakeSchedulers,
    FakeSpool,
    FixedRandomness,
    answer,
    assignment,
    for_ever,
    local_images,
)

from devkit.virtual_time import VirtualClock, run
from executor.bootstrap import Executor
from executor.ports import ModelAnswer, ModelRequest
from executor.spans import Spans
from runtime.tracing import Tracing
from visionjobs.v1 import executor_service_pb2 as pb

DRAIN_SECONDS = 300.0


class Surroundings:
    def __init__(self, model: FakeModel) -> None:
        self.model = model
        self.schedulers = FakeSchedulers()
        self.spool = FakeSpool()
        self.connected: list[bool] = []
        self.executor = Executor(
            boot="boot-1",
            capacity=3,
            lanes=("gemini/*",),
            drain_seconds=DRAIN_SECONDS,
            models={"gemini": model},
            images=local_images(FakeImages(), VirtualClock()),
            dialer=self.schedulers,
            spool=self.spool,
            spans=Spans(Tracing(randomness=FixedRandomness()), provider_urls={"gemini": "https://provider"}),
            clock=VirtualClock(),
            randomness=FixedRandomness(),
            on_connected=self._note,
        )

    async def _note(self, *, connected: bool) -> None:
        self.connected.append(connected)


Scenario = Callable[[Surroundings, FakeLink], Awaitable[None]]


def with_executor(scenario: Scenario, *, model: FakeModel | None = None) -> None:
    """Run an executor until the scenario, which begins with its first stream, is over."""

    async def main() -> None:
        async with asyncio.timeout(3600), asyncio.TaskGroup() as tasks:
            surroundings = Surroundings(model or FakeModel())
            running = tasks.create_task(surroundings.executor.run())
            await scenario(surroundings, await surroundings.schedulers.link())
            running.cancel()

    run(main())


def outcomes(link: FakeLink) -> list[pb.Outcome]:
    return [pb.Outcome.FromString(record) for message in link.messages for record in message.outcomes]


async def acknowledge_all(link: FakeLink, count: int) -> None:
    await link.until(lambda: len(outcomes(link)) >= count)
    link.say(acknowledged=[assignment(number + 1).attempt_id for number in range(count)])


def test_it_says_who_it_is_and_does_its_work() -> None:
    async def scenario(around: Surroundings, link: FakeLink) -> None:
        link.assign(assignment())
        await link.until(lambda: outcomes(link))

        assert (link.hello.executor_id, link.hello.capacity, link.hello.lanes) == ("boot-1", 3, ("gemini/*",))
        assert outcomes(link)[0].succeeded.output_json == '{"total":12.5}'
        assert around.connected == [True]

    with_executor(scenario)


def test_a_stop_waits_for_the_call_and_for_the_acknowledgement_of_its_outcome() -> None:
    async def respond(_: ModelRequest) -> ModelAnswer:
        await asyncio.sleep(20)
        return answer()

    async def scenario(around: Surroundings, link: FakeLink) -> None:
        link.assign(assignment())
        await around.model.called.wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(acknowledge_all(link, 1))
            await around.executor.stop()

        assert outcomes(link)[0].HasField("succeeded")
        assert around.spool.kept == {}
        assert around.connected == [True, False]
        assert link.credits[-1][0] == 0

    with_executor(scenario, model=FakeModel(respond))


def test_a_stop_releases_what_waits_for_its_permit() -> None:
    async def scenario(around: Surroundings, link: FakeLink) -> None:
        link.assign(assignment(permit_required=True))
        await link.until(lambda: link.ready)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(acknowledge_all(link, 1))
            await around.executor.stop()

        assert outcomes(link)[0].released.message == "The executor is stopping."
        assert asyncio.get_running_loop().time() < 1

    with_executor(scenario)


def test_a_stop_that_lasts_ends_as_soon_as_its_last_call_is_cancelled() -> None:
    async def scenario(around: Surroundings, link: FakeLink) -> None:
        link.assign(assignment())
        await around.model.called.wait()
        async with asyncio.TaskGroup() as tasks:
            stopping = tasks.create_task(around.executor.stop())
            tasks.create_task(acknowledge_all(link, 1))
            await asyncio.sleep(20)
            assert not stopping.done()
            link.say(cancels=[assignment().attempt_id])

        (outcome,) = outcomes(link)
        assert (outcome.failed.error.kind, outcome.paid) == ("CANCELLED", True)
        assert asyncio.get_running_loop().time() == pytest.approx(20, abs=1)

    with_executor(scenario, model=FakeModel(for_ever))


def test_a_stop_gives_up_calls_that_outlast_it() -> None:
    async def scenario(around: Surroundings, link: FakeLink) -> None:
        link.assign(assignment(timeout=assignment().timeout * 100))
        await around.model.called.wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(acknowledge_all(link, 1))
            await around.executor.stop()

        (outcome,) = outcomes(link)
        assert (outcome.released.message, outcome.paid) == ("The executor stopped before the call ended.", True)
        assert asyncio.get_running_loop().time() == pytest.approx(DRAIN_SECONDS, abs=1)

    with_executor(scenario, model=FakeModel(for_ever))
