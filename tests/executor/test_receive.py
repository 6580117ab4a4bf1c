import asyncio
import contextlib
import datetime
import itertools
from collections.abc import AsyncIterator, Sequence

import pytest
from executor_world import (
    USAGE,
    FakeModel,
    FakeSchedulers,
    FakeSpool,
    PickleCodec,
    World,
    answer,
    assignment,
    for_ever,
    in_world,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from devkit.virtual_time import EPOCH, run
from executor.heartbeats import ECHO_SHARE
from executor.lease import LOST_SECONDS
from executor.ports import Link, ModelAnswer, ModelRequest, ProviderRefused
from executor.provider_key import RETRY_SECONDS
from executor.receive import WELCOME_SECONDS, redial_seconds
from executor.work import Failed, ImageRef, Outcome, Released, Succeeded


async def after(seconds: float, respond: ModelAnswer) -> ModelAnswer:
    await asyncio.sleep(seconds)
    return respond


def test_a_job_runs_from_its_assignment_to_its_outcome() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        job = assignment()
        link.assign(job)

        outcome = await link.outcome()

        assert outcome.verdict == Succeeded('{"total":12.5}')
        assert (outcome.usage, outcome.model_version, outcome.paid) == (USAGE, "fake", True)
        assert [each for message in link.messages for each in message.accepted] == [job.attempt_id]
        assert link.stages == [(job.attempt_id, "GEMINI_ANALYZING"), (job.attempt_id, "VALIDATING")]
        assert link.ready == []

    in_world(scenario)


def test_stages_that_take_time_are_each_told() -> None:
    async def respond(_: ModelRequest) -> ModelAnswer:
        await asyncio.sleep(2)
        return ModelAnswer(text="{}", finish_reason="STOP")

    async def scenario(world: World) -> None:
        world.images.seconds = 1.0
        link = await world.schedulers.link()
        link.assign(assignment(inline=False))

        await link.outcome()

        assert [stage for _, stage in link.stages] == ["FETCHING_IMAGE", "GEMINI_ANALYZING", "VALIDATING"]

    in_world(scenario, model=FakeModel(respond))


def test_the_call_waits_until_its_stage_is_on_the_stream() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        told_before: list[bool] = []

        async def respond(_: ModelRequest) -> ModelAnswer:
            told_before.append(bool(link.stages))
            return ModelAnswer(text="{}", finish_reason="STOP")

        world.model.respond = respond
        link.assign(assignment())
        await link.outcome()

        assert told_before == [True]

    in_world(scenario)


def test_no_call_begins_while_no_scheduler_is_connected() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        world.schedulers.away = True
        link.assign(assignment())
        link.break_off()
        await world.schedulers.dials(5)
        assert world.model.requests == []

        world.schedulers.away = False
        again = await world.schedulers.link(2)
        await again.outcome()
        assert len(world.model.requests) == 1
        assert again.stages[0] == (assignment().attempt_id, "GEMINI_ANALYZING")

    in_world(scenario)


def test_credit_counts_free_slots_and_the_assignments_it_accounts_for() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        assert link.credits == [(3, 0)]

        link.assign(assignment(1), assignment(2))
        await link.until(lambda: link.credits[-1] == (1, 2))
        link.say(cancels=[assignment(1).attempt_id])
        await link.until(lambda: link.credits[-1] == (2, 2))

    in_world(scenario, model=FakeModel(for_ever))


def test_a_slot_is_free_again_only_when_its_outcome_is_on_the_spool() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment())
        await link.until(lambda: link.credits[-1] == (1, 1))

        assert assignment().attempt_id in world.spool.kept

    in_world(scenario, capacity=1)


def test_an_acknowledged_outcome_leaves_the_spool_and_is_held_no_more() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment())
        outcome = await link.outcome()
        assert world.attempts.held == {outcome.attempt_id}

        link.say(acknowledged=[outcome.attempt_id])
        await world.reporter.flush()

        assert world.spool.kept == {}
        assert world.attempts.held == set()

    in_world(scenario)


def test_after_a_redial_what_is_held_is_named_and_unacknowledged_outcomes_are_sent_again() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment(1))
        done = await link.outcome()
        world.model.respond = for_ever
        link.assign(assignment(2))
        await link.until(lambda: len(link.stages) == 2)
        link.break_off()

        again = await world.schedulers.link(2)
        await again.until(lambda: again.outcomes)

        assert set(again.hello.held) == {done.attempt_id, assignment(2).attempt_id}
        assert again.outcomes == [done]
        assert again.stages == [(assignment(2).attempt_id, "GEMINI_ANALYZING")]
        assert again.credits[0] == (2, 0)
        assert world.schedulers.turns == [0, 1]
        assert world.connected == [True, False, True]

    in_world(scenario)


def test_an_attempt_that_was_given_to_others_is_cancelled() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        job = assignment()
        link.assign(job)
        await world.model.called.wait()
        world.schedulers.superseded = (job.attempt_id,)
        link.break_off()

        outcome = await (await world.schedulers.link(2)).outcome()

        assert isinstance(outcome.verdict, Failed)
        assert (outcome.verdict.kind, outcome.paid) == ("CANCELLED", True)

    in_world(scenario, model=FakeModel(for_ever))


def test_an_outcome_of_an_attempt_that_was_given_to_others_is_reported_all_the_same() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment())
        done = await link.outcome()
        world.schedulers.superseded = (done.attempt_id,)
        link.break_off()

        assert await (await world.schedulers.link(2)).outcome() == done

    in_world(scenario)


def test_an_assignment_that_is_held_already_is_not_begun_twice() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment(), assignment())
        await link.until(lambda: link.credits[-1] == (2, 2))
        await asyncio.sleep(10)

        assert len(world.model.requests) == 1

    in_world(scenario, model=FakeModel(for_ever))


def test_a_heartbeat_goes_out_every_interval_and_every_third_lists_what_is_held() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment())
        await asyncio.sleep(10)

        beats = [message.heartbeat for message in link.messages if message.heartbeat]
        assert [beat.number for beat in beats] == [1, 2, 3]
        assert [beat.held for beat in beats] == [None, None, [assignment().attempt_id]]

    in_world(scenario, model=FakeModel(for_ever))


def test_a_heartbeat_that_is_not_echoed_within_four_seconds_makes_it_dial_the_next_address() -> None:
    async def scenario(world: World) -> None:
        world.schedulers.echoes = False
        await world.schedulers.dials(2)

        first, second = world.schedulers.dial_times
        # 3 s to the first heartbeat, 4 s without its echo.
        assert 7.0 <= second - first < 7.6
        assert world.schedulers.turns == [0, 1]

    in_world(scenario)


def test_a_scheduler_that_does_not_welcome_is_left_after_two_seconds() -> None:
    async def scenario(world: World) -> None:
        world.schedulers.welcomes = False
        await world.schedulers.dials(2)

        first, second = world.schedulers.dial_times
        assert 2.0 <= second - first < 2.6

    in_world(scenario)


def test_it_dials_at_least_every_two_seconds_for_ever() -> None:
    async def scenario(world: World) -> None:
        world.schedulers.away = True
        await world.schedulers.dials(1_000)

        times = world.schedulers.dial_times
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert max(pauses) <= 2.0
        assert world.schedulers.turns == list(range(1_000))

    in_world(scenario)


class Unreliable(FakeSchedulers):
    """Each dial goes wrong in the way that is named next, and is timed from beginning to end."""

    def __init__(self, ways: Sequence[str]) -> None:
        super().__init__()
        self.ways = ways
        self.dials_timed: list[tuple[str, float, float]] = []

    @contextlib.asynccontextmanager
    async def dial(self, turn: int) -> AsyncIterator[Link]:
        way = self.ways[turn % len(self.ways)]
        self.away, self.welcomes, self.echoes = way in ("refuses", "swallows"), way != "is silent", way == "breaks"
        began = asyncio.get_running_loop().time()
        try:
            if way == "swallows":
                # As long as a name is looked up, or a connection is tried.
                await asyncio.sleep(1.5)
            async with super().dial(turn) as link:
                if way == "breaks":
                    self.links[-1].break_off()
                yield link
        finally:
            self.dials_timed.append((way, began, asyncio.get_running_loop().time()))


# The longest that a dial which leads nowhere may take, by how it goes wrong.
LONGEST_SECONDS = {
    "refuses": 0.0,
    "swallows": 1.5,
    "is silent": WELCOME_SECONDS,
    "breaks": 0.0,
    # 3 s to the first heartbeat, and 4 s without its echo.
    "does not echo": 3.0 + ECHO_SHARE * LOST_SECONDS,
}


@given(ways=st.lists(st.sampled_from(sorted(LONGEST_SECONDS)), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_no_dial_takes_long_and_the_next_follows_within_two_seconds_whatever_goes_wrong(ways: list[str]) -> None:
    schedulers = Unreliable(ways)

    async def scenario(_: World) -> None:
        await schedulers.dials(3 * len(ways) + 1)

        for (way, began, ended), following in itertools.pairwise(schedulers.dials_timed):
            assert ended - began <= LONGEST_SECONDS[way] + 0.01
            assert following[1] - ended <= 2.0
        assert schedulers.turns == list(range(len(schedulers.turns)))

    in_world(scenario, schedulers=schedulers)


@given(failures=st.integers(min_value=0, max_value=10**9), draw=st.floats(min_value=0, max_value=1, exclude_max=True))
def test_the_pause_before_a_dial_is_short_and_never_nothing(failures: int, draw: float) -> None:
    assert 0.02 < redial_seconds(failures, draw=draw) <= 0.5


def test_a_cancelled_attempt_whose_call_had_not_begun_is_released() -> None:
    async def scenario(world: World) -> None:
        world.images.seconds = 100.0
        link = await world.schedulers.link()
        link.assign(assignment(inline=False))
        await link.until(lambda: link.stages)
        link.say(cancels=[assignment().attempt_id])

        outcome = await link.outcome()

        assert isinstance(outcome.verdict, Released)
        assert not outcome.paid

    in_world(scenario)


def test_a_cancellation_in_the_same_message_as_the_assignment_takes_effect() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.say(assignments=[assignment()], cancels=[assignment().attempt_id])

        outcome = await link.outcome()

        assert isinstance(outcome.verdict, Released)
        assert world.model.requests == []

    in_world(scenario)


def test_a_withdrawn_attempt_goes_back_without_an_outcome_if_its_call_has_not_begun() -> None:
    async def scenario(world: World) -> None:
        world.images.seconds = 100.0
        link = await world.schedulers.link()
        link.assign(assignment(inline=False))
        await link.until(lambda: link.stages)
        link.say(withdraws=[assignment().attempt_id])

        await link.until(lambda: link.withdrawn)
        assert link.withdrawn == [assignment().attempt_id]
        await link.until(lambda: link.credits[-1] == (3, 1))
        assert link.outcomes == []
        assert world.attempts.held == set()

    in_world(scenario)


def test_a_withdrawn_attempt_whose_call_has_begun_goes_on() -> None:
    async def scenario(world: World) -> None:
        world.model.respond = lambda _: after(5, ModelAnswer(text='{"total": 1}', finish_reason="STOP"))
        link = await world.schedulers.link()
        link.assign(assignment())
        await world.model.called.wait()
        link.say(withdraws=[assignment().attempt_id])

        outcome = await link.outcome()

        assert isinstance(outcome.verdict, Succeeded)
        assert link.withdrawn == []

    in_world(scenario)


def test_a_withdrawal_of_what_never_arrived_is_confirmed() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.say(withdraws=[assignment().attempt_id])

        await link.until(lambda: link.withdrawn)

    in_world(scenario)


def test_a_drain_means_zero_credit_until_the_next_stream() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.say(drain="Maintenance.")
        await link.until(lambda: link.credits[-1] == (0, 0))
        link.break_off()

        again = await world.schedulers.link(2)
        await again.until(lambda: again.credits)
        assert again.credits == [(3, 0)]

    in_world(scenario)


def test_a_call_under_way_can_be_cancelled_while_draining() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment())
        await world.model.called.wait()
        link.say(drain="Maintenance.")
        await link.until(lambda: link.credits[-1] == (0, 1))
        asked = world.clock.monotonic()
        link.say(cancels=[assignment().attempt_id])

        outcome = await link.outcome()

        assert isinstance(outcome.verdict, Failed)
        assert (outcome.verdict.kind, outcome.paid) == ("CANCELLED", True)
        assert world.clock.monotonic() - asked < 0.1

    in_world(scenario, model=FakeModel(for_ever))


def test_what_waits_when_a_drain_comes_can_be_cancelled() -> None:
    async def scenario(world: World) -> None:
        world.images.seconds = 100.0
        link = await world.schedulers.link()
        link.assign(assignment(inline=False))
        await link.until(lambda: link.stages)
        link.say(drain="Maintenance.")
        link.say(cancels=[assignment().attempt_id])

        assert (await link.outcome()).verdict == Released("The job was cancelled.")

    in_world(scenario)


def test_outcomes_of_dead_executors_are_adopted_and_reported() -> None:
    orphan = Outcome(attempt_id=assignment(9).attempt_id, verdict=Succeeded("{}"), finish_time=EPOCH)

    async def scenario(world: World) -> None:
        link = await world.schedulers.link()

        assert await link.outcome() == orphan
        link.say(acknowledged=[orphan.attempt_id])
        await world.reporter.flush()

    async def main() -> None:
        spool = FakeSpool(adopted=[PickleCodec().encode(orphan)])
        async with World(spool=spool).running() as world:
            await scenario(world)

    run(main())


@pytest.mark.parametrize("seconds", [0.5, 6.0])
def test_a_spool_that_cannot_be_opened_means_zero_credit_until_it_can(seconds: float) -> None:
    async def main() -> None:
        spool = FakeSpool()
        spool.broken = True
        async with World(spool=spool).running() as world:
            link = await world.schedulers.link()
            assert link.credits == [(0, 0)]
            await asyncio.sleep(seconds)
            spool.broken = False
            await link.until(lambda: link.credits[-1] == (3, 0))

    run(main())


def test_a_spool_that_cannot_be_written_stops_new_work_and_loses_no_outcome() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        world.spool.broken = True
        link.assign(assignment())

        outcome = await link.outcome()
        await link.until(lambda: link.credits[-1] == (0, 1))
        assert world.spool.kept == {}

        world.spool.broken = False
        await link.until(lambda: link.credits[-1] == (3, 1))
        assert list(world.spool.kept) == [outcome.attempt_id]

    in_world(scenario)


def test_unacknowledged_outcomes_that_pile_up_stop_new_work() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment())
        outcome = await link.outcome()
        await link.until(lambda: link.credits[-1] == (0, 1))

        link.say(acknowledged=[outcome.attempt_id])
        await link.until(lambda: link.credits[-1] == (3, 1))

    in_world(scenario, max_unacknowledged_bytes=10)


def test_a_stop_releases_what_was_not_called_and_lets_calls_end() -> None:
    timeout = datetime.timedelta(seconds=300)

    async def scenario(world: World) -> None:
        world.model.respond = lambda _: after(60, ModelAnswer(text='{"total": 1}', finish_reason="STOP"))
        world.images.seconds = 100.0
        link = await world.schedulers.link()
        elsewhere = ImageRef(sha256="ab" * 32, mime_type="image/png")
        link.assign(assignment(1, timeout=timeout), assignment(2, images=(elsewhere,)))
        await world.model.called.wait()
        world.attempts.release_uncalled("The executor is stopping.")
        await world.attempts.finished()

        assert {outcome.attempt_id: type(outcome.verdict) for outcome in link.outcomes} == {
            assignment(1).attempt_id: Succeeded,
            assignment(2).attempt_id: Released,
        }

    in_world(scenario)


def test_an_assignment_that_arrives_during_a_stop_is_released() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment(1))
        await world.model.called.wait()
        world.attempts.release_uncalled("The executor is stopping.")
        link.assign(assignment(2))

        outcome = await link.outcome()

        assert (outcome.attempt_id, outcome.verdict) == (
            assignment(2).attempt_id,
            Released("The executor is stopping."),
        )
        assert len(world.model.requests) == 1

    in_world(scenario, model=FakeModel(for_ever))


def test_a_call_that_outlives_the_stop_is_released_as_paid() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment())
        await world.model.called.wait()
        world.attempts.release_all("The executor stopped.")

        outcome = await link.outcome()

        assert (outcome.verdict, outcome.paid) == (Released("The executor stopped."), True)

    in_world(scenario, model=FakeModel(for_ever))


def test_an_executor_dials_again_with_the_lanes_that_are_left_and_keeps_what_it_holds() -> None:
    async def respond(request: ModelRequest) -> ModelAnswer:
        if request.provider == "deepseek":
            raise ProviderRefused(status=401, body="no such key", retry_after=None)
        return await after(5, answer())

    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        running = assignment(1)
        refused = assignment(2, lane="deepseek/deepseek-v4-flash", model="deepseek-v4-flash", step=2, steps=2)
        link.assign(running, refused)

        second = await world.schedulers.link(2)

        assert link.hello.lanes == ("gemini/*", "deepseek/*")
        assert second.hello.lanes == ("gemini/*",)
        assert second.hello.dial == 2
        assert running.attempt_id in second.hello.held
        await second.outcome(2)
        verdicts = {each.attempt_id: each.verdict for each in second.outcomes}
        assert isinstance(verdicts[refused.attempt_id], Released)
        assert verdicts[running.attempt_id] == Succeeded('{"total":12.5}')
        # What is refused once may be taken later.
        third = await world.schedulers.link(3)
        assert third.hello.lanes == ("gemini/*", "deepseek/*")
        assert world.clock.monotonic() >= RETRY_SECONDS

    in_world(scenario, model=FakeModel(respond), lanes=("gemini/*", "deepseek/*"))
