"""When a paid call may begin: the lease, permits, and the time by which it must have begun."""

import asyncio
import datetime
from collections.abc import Callable

import pytest
from executor_world import FakeLink, FakeModel, World, answer, assignment, for_ever, in_world

from devkit.virtual_time import VirtualClock, freeze, run
from executor.attempt import Attempt
from executor.call_gate import CallGate
from executor.ports import ModelAnswer, ModelRequest, Permit, Progress, Uplink
from executor.work import AttemptId, Failed, Released, Stage, Succeeded

ATTEMPT = assignment().attempt_id
ANALYZING = (ATTEMPT, "GEMINI_ANALYZING")
WAITING = (ATTEMPT, "WAITING_FOR_PERMIT")


def when_announced(link: FakeLink, action: Callable[[], None]) -> None:
    """Act once, between the announcement of a call and the call."""

    def act(message: Uplink) -> None:
        if any(each.stage == Stage.GEMINI_ANALYZING for each in message.progress):
            link.on_send = lambda _: None
            action()

    link.on_send = act


def lose(link: FakeLink, seconds: float = 20) -> None:
    """Freeze the process, for so long that its scheduler gives the stream up."""
    freeze(seconds)
    link.break_off()


def test_a_process_that_was_frozen_after_its_announcement_starts_no_call_when_it_wakes() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        world.schedulers.away = True
        when_announced(link, lambda: lose(link))
        link.assign(assignment())
        await world.schedulers.dials(100)

        assert ANALYZING in link.stages
        assert world.model.requests == []

    in_world(scenario)


def test_a_process_that_was_frozen_while_an_image_came_announces_no_call_when_it_wakes() -> None:
    async def scenario(world: World) -> None:
        world.images.seconds = 1.0
        link = await world.schedulers.link()
        world.schedulers.away = True
        link.assign(assignment(inline=False))
        await link.until(lambda: link.stages)
        lose(link)
        await world.schedulers.dials(100)

        assert link.stages == [(ATTEMPT, "FETCHING_IMAGE")]
        assert world.model.requests == []

    in_world(scenario)


def test_what_others_have_got_meanwhile_is_never_called_here() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        world.schedulers.superseded = (ATTEMPT,)
        when_announced(link, lambda: lose(link))
        link.assign(assignment())

        outcome = await (await world.schedulers.link(2)).outcome()
        await asyncio.sleep(60)

        assert outcome.verdict == Released("The job was given to another executor meanwhile.")
        assert not outcome.paid
        assert world.model.requests == []

    in_world(scenario)


def test_a_call_that_waited_for_the_lease_is_announced_on_the_new_stream_before_it_begins() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        stages: list[object] = []

        async def respond(_: ModelRequest) -> ModelAnswer:
            stages.extend(world.schedulers.links[-1].stages)
            return answer()

        world.model.respond = respond
        when_announced(link, lambda: lose(link))
        link.assign(assignment())

        outcome = await (await world.schedulers.link(2)).outcome()

        assert isinstance(outcome.verdict, Succeeded)
        assert stages[0] == ANALYZING
        assert len(world.model.requests) == 1

    in_world(scenario)


def test_a_short_freeze_under_the_lease_does_no_harm() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        when_announced(link, lambda: freeze(2))
        link.assign(assignment())

        assert isinstance((await link.outcome()).verdict, Succeeded)

    in_world(scenario)


def test_an_echo_renews_the_lease_from_the_sending_of_its_heartbeat() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.echoes = False
        world.schedulers.away = True
        # The first heartbeat goes at 3 s.
        await asyncio.sleep(6.5)
        link.say(echoed=1)
        when_announced(link, lambda: lose(link, 3.6))
        link.assign(assignment())
        await world.schedulers.dials(10)

        assert ANALYZING in link.stages
        assert world.model.requests == []

    in_world(scenario)


def test_a_welcome_gives_the_lease_from_the_sending_of_its_hello() -> None:
    async def scenario(world: World) -> None:
        world.schedulers.echoes = False
        world.schedulers.on_send = lambda message: freeze(3) if message.hello else None
        link = await world.schedulers.link()
        world.schedulers.away = True
        world.images.seconds = 4.5
        link.assign(assignment(inline=False))
        await world.schedulers.dials(10)

        assert link.stages == [(ATTEMPT, "FETCHING_IMAGE")]

    in_world(scenario)


class Announcer:
    """Takes what it is told at once."""

    def __init__(self) -> None:
        self.asked: list[AttemptId] = []

    def enter(self, progress: Progress) -> None:
        pass

    def ready(self, attempt_id: AttemptId) -> None:
        self.asked.append(attempt_id)

    async def announce(self, progress: Progress) -> None:
        pass


@pytest.mark.parametrize(("sent_at", "begins"), [(3.0, False), (13.0, True)])
def test_an_echo_that_comes_late_counts_from_the_sending_of_its_heartbeat(sent_at: float, begins: bool) -> None:
    async def main() -> bool:
        clock = VirtualClock()
        gate = CallGate(announcer=Announcer(), clock=clock)
        attempt = Attempt(assignment(), clock=clock)
        async with asyncio.TaskGroup() as tasks:
            beginning = tasks.create_task(gate.begin_call(attempt))
            await asyncio.sleep(19)
            gate.renew_lease(sent_at)
            await asyncio.sleep(5)
            beginning.cancel()
        return attempt.call_begun

    assert run(main()) is begins


def test_no_permit_is_asked_for_while_it_could_not_be_used() -> None:
    async def main() -> list[int]:
        clock, announcer = VirtualClock(), Announcer()
        gate = CallGate(announcer=announcer, clock=clock)
        asked: list[int] = []
        async with asyncio.TaskGroup() as tasks:
            beginning = tasks.create_task(gate.begin_call(Attempt(assignment(permit_required=True), clock=clock)))
            await asyncio.sleep(10)
            asked.append(len(announcer.asked))
            gate.renew_lease(clock.monotonic())
            await asyncio.sleep(10)
            asked.append(len(announcer.asked))
            beginning.cancel()
        return asked

    assert run(main()) == [0, 1]


def test_every_waiting_call_begins_when_the_lease_is_back() -> None:
    async def main() -> list[bool]:
        clock = VirtualClock()
        gate = CallGate(announcer=Announcer(), clock=clock)
        attempts = [Attempt(assignment(number), clock=clock) for number in range(5)]
        async with asyncio.TaskGroup() as tasks:
            for attempt in attempts:
                tasks.create_task(gate.begin_call(attempt))
            await asyncio.sleep(100)
            gate.renew_lease(clock.monotonic())
        return [attempt.call_begun for attempt in attempts]

    assert run(main()) == [True] * 5


def test_where_a_permit_is_required_the_call_waits_for_it_with_its_images_local() -> None:
    async def scenario(world: World) -> None:
        world.images.seconds = 1.0
        link = await world.schedulers.link()
        link.assign(assignment(inline=False, permit_required=True))
        await link.until(lambda: link.ready)
        await asyncio.sleep(1_000)
        assert link.stages == [(ATTEMPT, "FETCHING_IMAGE"), WAITING]
        assert (link.ready, world.model.requests) == ([ATTEMPT], [])

        link.permit(ATTEMPT)
        outcome = await link.outcome()

        # The timeout of 30 s counts from the call.
        assert isinstance(outcome.verdict, Succeeded)
        assert outcome.stage_seconds[Stage.WAITING_FOR_PERMIT] == pytest.approx(1_000)
        assert link.stages[2:] == [ANALYZING, (ATTEMPT, "VALIDATING")]
        assert link.ready == [ATTEMPT]

    in_world(scenario)


def test_a_permit_that_ran_out_before_the_call_is_asked_for_anew_and_the_stage_is_taken_back() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        when_announced(link, lambda: freeze(0.6))
        link.assign(assignment(permit_required=True))
        await link.until(lambda: link.ready)
        link.permit(ATTEMPT, seconds=0.5)
        await link.until(lambda: len(link.ready) == 2)

        assert world.model.requests == []
        assert link.stages == [WAITING, ANALYZING, WAITING]
        await asyncio.sleep(10)
        link.permit(ATTEMPT, seconds=0.5)
        outcome = await link.outcome()

        assert len(world.model.requests) == 1
        assert outcome.stage_seconds[Stage.WAITING_FOR_PERMIT] == pytest.approx(10, abs=0.1)
        assert outcome.stage_seconds[Stage.GEMINI_ANALYZING] == pytest.approx(0.6, abs=0.1)

    in_world(scenario)


def test_a_permit_counts_from_its_receipt() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        when_announced(link, lambda: freeze(0.4))
        link.assign(assignment(permit_required=True))
        await link.until(lambda: link.ready)
        await asyncio.sleep(100)
        link.permit(ATTEMPT, seconds=0.5)

        await link.outcome()

        assert link.ready == [ATTEMPT]

    in_world(scenario)


def test_a_permit_without_its_lease_is_worth_nothing() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        world.schedulers.away = True
        when_announced(link, lambda: lose(link))
        link.assign(assignment(permit_required=True))
        await link.until(lambda: link.ready)
        link.permit(ATTEMPT, seconds=100)
        await world.schedulers.dials(100)
        assert world.model.requests == []

        world.schedulers.away = False
        again = await world.schedulers.link(2)
        await again.until(lambda: again.ready)
        await asyncio.sleep(10)
        assert (again.ready, again.stages, world.model.requests) == ([ATTEMPT], [WAITING], [])

        again.permit(ATTEMPT)
        assert isinstance((await again.outcome()).verdict, Succeeded)

    in_world(scenario)


def test_on_a_new_stream_those_that_wait_for_a_permit_say_so_again() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment(permit_required=True), assignment(2))
        await link.until(lambda: link.ready)
        await world.model.called.wait()
        link.break_off()

        again = await world.schedulers.link(2)
        await asyncio.sleep(10)
        assert again.ready == [ATTEMPT]
        assert WAITING in again.stages

        world.model.called.clear()
        again.permit(ATTEMPT)
        await world.model.called.wait()

    in_world(scenario, model=FakeModel(for_ever))


def test_a_permit_that_nobody_waits_for_is_no_permit() -> None:
    async def scenario(world: World) -> None:
        world.images.seconds = 0.1
        link = await world.schedulers.link()
        link.assign(assignment(inline=False, permit_required=True))
        link.permit(ATTEMPT, seconds=100)
        link.permit(assignment(9).attempt_id)
        await asyncio.sleep(10)

        assert world.model.requests == []

    in_world(scenario)


def test_what_waits_for_a_permit_is_given_back_when_it_is_withdrawn() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment(permit_required=True))
        await link.until(lambda: link.ready)
        link.say(withdraws=[ATTEMPT])
        await link.until(lambda: link.withdrawn)
        link.permit(ATTEMPT)
        await asyncio.sleep(10)

        assert link.withdrawn == [ATTEMPT]
        assert (link.outcomes, world.model.requests) == ([], [])
        assert link.credits[-1] == (3, 1)

    in_world(scenario)


@pytest.mark.parametrize("wish", ["cancels", "withdraws"])
def test_a_permit_and_the_end_in_one_message_begin_no_call(wish: str) -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment(permit_required=True))
        await link.until(lambda: link.ready)
        await asyncio.sleep(1)
        permit = Permit(ATTEMPT, datetime.timedelta(seconds=0.5))
        link.say(permits=[permit], **{wish: [ATTEMPT]})

        await link.until(lambda: link.credits[-1] == (3, 1))
        assert world.model.requests == []
        assert [type(outcome.verdict) for outcome in link.outcomes] == ([Released] if wish == "cancels" else [])

    in_world(scenario)


def test_what_waits_for_the_lease_is_given_back_when_it_is_cancelled() -> None:
    async def main() -> bool:
        async with World().running() as world:
            link = await world.schedulers.link()
            world.schedulers.away = True
            when_announced(link, lambda: lose(link))
            link.assign(assignment())
            await link.until(lambda: link.stages)
            world.attempts.cancel([ATTEMPT], "The job was cancelled.")
            await world.attempts.finished()
            return bool(world.model.requests)

    assert run(main()) is False


WITHIN_5_S = datetime.timedelta(seconds=5)
EXPIRED = Released("The job expired before its call.")


def test_a_job_that_expires_while_it_waits_for_its_permit_is_released() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        received = world.clock.monotonic()
        link.assign(assignment(permit_required=True, start_within=WITHIN_5_S))

        outcome = await link.outcome()

        assert (outcome.verdict, outcome.paid, world.model.requests) == (EXPIRED, False, [])
        assert world.clock.monotonic() - received == pytest.approx(5, abs=0.1)

    in_world(scenario)


def test_a_job_that_expires_while_its_image_comes_is_released() -> None:
    async def scenario(world: World) -> None:
        world.images.seconds = 10.0
        link = await world.schedulers.link()
        link.assign(assignment(inline=False, start_within=WITHIN_5_S))

        assert (await link.outcome()).verdict == EXPIRED

    in_world(scenario)


def test_a_job_that_has_expired_when_it_arrives_is_released() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment(start_within=datetime.timedelta(0)))

        assert ((await link.outcome()).verdict, world.model.requests) == (EXPIRED, [])

    in_world(scenario)


def test_a_job_that_expires_between_the_announcement_and_the_call_is_released() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        # The lease holds; only the job's own time is over.
        when_announced(link, lambda: freeze(6))
        link.assign(assignment(start_within=WITHIN_5_S))

        outcome = await link.outcome()

        assert (outcome.verdict, outcome.paid, world.model.requests) == (EXPIRED, False, [])

    in_world(scenario)


def test_a_call_that_began_in_time_may_end_later() -> None:
    async def respond(_: ModelRequest) -> ModelAnswer:
        await asyncio.sleep(20)
        return answer()

    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment(start_within=WITHIN_5_S))

        assert isinstance((await link.outcome()).verdict, Succeeded)

    in_world(scenario, model=FakeModel(respond))


def test_a_call_that_began_in_time_still_has_its_own_timeout() -> None:
    async def scenario(world: World) -> None:
        link = await world.schedulers.link()
        link.assign(assignment(start_within=WITHIN_5_S))

        outcome = await link.outcome()

        assert outcome.verdict == Failed(kind="TIMEOUT", message="The attempt took longer than 30 s.", retryable=True)

    in_world(scenario, model=FakeModel(for_ever))
