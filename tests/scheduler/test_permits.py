import datetime
from collections.abc import Sequence

from scheduler_peers import Executor, dial, failed, released, succeeded
from scheduler_world import World, fail_times, looping, settle
from stores import CLIENT, IMAGE_REF, LANE, NEW_IMAGE, insert, new_job, submit

from devkit.virtual_time import EPOCH, freeze, in_virtual_time
from policies import quota
from policies.breaker import Breaker
from policies.quota import Limits
from scheduler.fleet import OutcomeAck, Permit, Stop, Withdraw
from scheduler.jobs import Usage
from scheduler.records import AttemptId

PER_MINUTE = Limits(requests_per_minute=60)
INTERVAL = 60.8 / 60


def seconds(value: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=value)


async def holding(world: World, limits: Limits, *priorities: int) -> tuple[Executor, list[AttemptId]]:
    """Return an executor that holds an attempt of each priority, in their order; none has asked."""
    executor = await dial(world, slots=len(priorities))
    await submit(world.store, world.clock, *priorities)
    async with looping(world.dispatcher.run):
        attempts = await executor.receive(len(priorities))
    await world.set_lane(limits=limits)
    return executor, attempts


def permitted(items: Sequence[Permit]) -> list[AttemptId]:
    return [item.attempt_id for item in items]


@in_virtual_time
async def test_permits_come_in_the_order_of_the_queue_at_the_pace_of_the_lane() -> None:
    world = World()
    executor, [high, normal, low] = await holding(world, PER_MINUTE, 1, 2, 3)
    times = []
    async with looping(world.permits.run):
        await executor.say(ready=[low, normal, high])
        for attempt in (high, normal, low):
            [permit] = await executor.hear(Permit)
            assert (permit.attempt_id, permit.validity) == (attempt, quota.VALIDITY)
            times.append(world.clock.monotonic())

    # A permit may be early by what is given together, and never more.
    assert [round(later - times[0], 2) for later in times] == [
        0.0,
        round(INTERVAL - 0.05, 2),
        round(2 * INTERVAL - 0.05, 2),
    ]


@in_virtual_time
async def test_without_limits_everybody_who_asks_may_call() -> None:
    world = World()
    executor, attempts = await holding(world, Limits(), 2, 2, 2)
    async with looping(world.permits.run):
        await executor.say(ready=attempts)
        assert permitted(await executor.has_heard(Permit)) == attempts

    assert not any(world.permits.reserved(attempt) for attempt in attempts)


@in_virtual_time
async def test_whose_permit_is_not_due_within_5_s_gives_the_slot_back() -> None:
    world = World()
    executor, attempts = await holding(world, Limits(requests_per_minute=20), 2, 2, 2, 2)
    async with looping(world.permits.run):
        await executor.say(ready=attempts)
        permits, withdraws = await executor.has_heard(Permit), await executor.has_heard(Withdraw)
        [second] = await executor.hear(Permit)

    # One permit each 3.04 s.
    assert permitted(permits) == attempts[:1]
    assert [item.attempt_id for item in withdraws] == attempts[2:]
    assert second.attempt_id == attempts[1]


@in_virtual_time
async def test_who_asks_while_others_are_served_is_served_next_and_not_sent_away() -> None:
    world = World()
    executor, [first, second] = await holding(world, Limits(requests_per_day=10), 2, 2)

    async def ask_meanwhile() -> None:
        world.store.after.clear()
        await executor.say(ready=[second])

    world.store.after["change_lane"] = ask_meanwhile
    async with looping(world.permits.run):
        await executor.say(ready=[first])
        assert permitted(await executor.has_heard(Permit)) == [first, second]

    assert await executor.has_heard(Withdraw) == []


@in_virtual_time
async def test_a_closed_lane_holds_no_slot() -> None:
    world = World()
    executor, attempts = await holding(world, Limits(), 2, 2)
    await world.set_lane(limits=PER_MINUTE, paused=True)
    async with looping(world.permits.run):
        await executor.say(ready=attempts)
        assert [item.attempt_id for item in await executor.has_heard(Withdraw)] == attempts

    assert await executor.has_heard(Permit) == []


@in_virtual_time
async def test_who_waits_for_a_lane_that_opens_soon_keeps_the_slot() -> None:
    world = World()
    executor, [attempt] = await holding(world, Limits(), 2)
    await world.set_lane(limits=PER_MINUTE, closed_until=world.clock.now() + seconds(4))
    async with looping(world.permits.run):
        await executor.say(ready=[attempt])
        await executor.hear(Permit)

    assert 3.9 < world.clock.monotonic() < 4.1
    assert await executor.has_heard(Withdraw) == []


@in_virtual_time
async def test_while_the_breaker_is_half_open_only_its_probe_may_call() -> None:
    world = World()
    executor, [other, probe] = await holding(world, Limits(), 2, 2)
    await world.set_lane(limits=PER_MINUTE, breaker=Breaker(failures=5, open_until=EPOCH, probe=probe))
    async with looping(world.permits.run):
        await executor.say(ready=[other, probe])
        assert permitted(await executor.has_heard(Permit)) == [probe]

    assert [item.attempt_id for item in await executor.has_heard(Withdraw)] == [other]


@in_virtual_time
async def test_a_probe_waits_for_its_turn_as_others_do() -> None:
    world = World()
    executor, [probe, other] = await holding(world, Limits(), 2, 2)
    await world.set_lane(
        limits=PER_MINUTE,
        breaker=Breaker(failures=5, open_until=EPOCH, probe=probe),
        pace=quota.Pace(next_permit_time=world.clock.now() + seconds(2)),
    )
    async with looping(world.permits.run):
        await executor.say(ready=[probe, other])
        assert [item.attempt_id for item in await executor.has_heard(Withdraw)] == [other]
        assert permitted(await executor.hear(Permit)) == [probe]

    assert 1.9 < world.clock.monotonic() < 2.1


@in_virtual_time
async def test_who_asks_again_pays_once() -> None:
    world = World()
    executor, [attempt] = await holding(world, Limits(input_tokens_per_minute=100_000), 2)
    async with looping(world.permits.run):
        await executor.say(ready=[attempt])
        await executor.hear(Permit)
        reserved = quota.TOKENS.total((await world.pace()).tokens, world.clock.now())
        await world.clock.sleep(1)
        await executor.say(ready=[attempt])
        await executor.hear(Permit)

    assert reserved > 1_000
    assert quota.TOKENS.total((await world.pace()).tokens, world.clock.now()) == reserved


@in_virtual_time
async def test_permits_of_a_process_that_stood_still_are_given_to_nobody() -> None:
    world = World()
    executor, [attempt] = await holding(world, PER_MINUTE, 2)

    def stand_still() -> None:
        world.store.after.clear()
        freeze(0.3)

    world.store.after["change_lane"] = stand_still
    async with looping(world.permits.run):
        await executor.say(ready=[attempt])
        assert await executor.has_heard(Permit) == []
        await executor.hear(Permit)

    # The one that was lost counts.
    assert world.clock.monotonic() > INTERVAL - 0.06


@in_virtual_time
async def test_nothing_is_permitted_while_the_store_is_away() -> None:
    world = World()
    executor, [attempt] = await holding(world, PER_MINUTE, 2)
    world.store.before["change_lane"] = fail_times(3)
    async with looping(world.permits.run):
        await executor.say(ready=[attempt])
        await executor.hear(Permit)

    assert world.clock.monotonic() > 1.4
    assert await executor.has_heard(Withdraw) == []


@in_virtual_time
async def test_nobody_asks_for_an_attempt_that_was_stopped_withdrawn_or_never_given() -> None:
    world = World()
    executor, [stopped, withdrawn] = await holding(world, Limits(), 2, 2)
    executor.session.withdraw([withdrawn])
    async with looping(world.permits.run):
        await executor.say(ready=[stopped, withdrawn, AttemptId(stopped.job_id, 7)])
        world.permits.forget(stopped)
        assert await executor.has_heard(Permit) == []


@in_virtual_time
async def test_an_executor_that_left_gets_no_permit() -> None:
    world = World()
    executor, [attempt] = await holding(world, Limits(), 2)
    await executor.say(ready=[attempt])
    world.work.close(executor.session)
    async with looping(world.permits.run):
        assert await executor.has_heard(Permit) == []


@in_virtual_time
async def test_who_asks_on_a_new_stream_meanwhile_gets_the_permit_there() -> None:
    world = World()
    executor, [attempt] = await holding(world, PER_MINUTE, 2)
    returned: list[Executor] = []

    async def dial_again() -> None:
        world.store.after.clear()
        world.work.close(executor.session)
        returned.append(await dial(world, held=[attempt]))
        await returned[0].say(ready=[attempt])

    world.store.after["change_lane"] = dial_again
    async with looping(world.permits.run):
        await executor.say(ready=[attempt])
        await settle()
        assert permitted(await returned[0].has_heard(Permit)) == [attempt]


@in_virtual_time
async def test_a_permit_on_its_way_to_a_cancelled_attempt_stays_here() -> None:
    world = World()
    executor, [attempt] = await holding(world, PER_MINUTE, 2)
    world.store.after["change_lane"] = lambda: world.permits.forget(attempt)
    async with looping(world.permits.run):
        await executor.say(ready=[attempt])
        assert await executor.has_heard(Permit) == []

    assert await executor.has_heard(Stop) == []


@in_virtual_time
async def test_what_was_reserved_is_settled_by_what_was_used() -> None:
    world = World()
    executor, [used, spared] = await holding(world, Limits(input_tokens_per_minute=100_000), 2, 2)
    async with looping(world.permits.run, world.completer.run):
        await executor.say(ready=[used, spared])
        await executor.hear(Permit, 2)
        await executor.tell(succeeded(used, usage=Usage(input_tokens=10)), released(spared))
        await settle()

    assert quota.TOKENS.total((await world.pace()).tokens, world.clock.now()) == 10


@in_virtual_time
async def test_what_was_reserved_stays_so_where_nobody_knows_what_a_failed_call_used() -> None:
    world = World()
    executor, [attempt] = await holding(world, Limits(input_tokens_per_minute=100_000), 2)
    async with looping(world.permits.run, world.completer.run):
        await executor.say(ready=[attempt])
        await executor.hear(Permit)
        before = quota.TOKENS.total((await world.pace()).tokens, world.clock.now())
        await executor.tell(failed(attempt))
        await executor.hear(OutcomeAck)

    assert quota.TOKENS.total((await world.pace()).tokens, world.clock.now()) == before > 0


@in_virtual_time
async def test_what_was_reserved_is_settled_also_when_the_store_is_away_for_a_moment() -> None:
    world = World()
    executor, [attempt] = await holding(world, Limits(input_tokens_per_minute=100_000), 2)
    async with looping(world.permits.run, world.completer.run):
        await executor.say(ready=[attempt])
        await executor.hear(Permit)
        world.store.before["change_lane"] = fail_times(1)
        await executor.tell(succeeded(attempt, usage=Usage(input_tokens=10)))
        await executor.hear(OutcomeAck)

    assert quota.TOKENS.total((await world.pace()).tokens, world.clock.now()) == 10


@in_virtual_time
async def test_what_a_call_did_not_use_lets_the_next_one_begin_at_once() -> None:
    world = World()
    # A job is expected to use more than half of it.
    await world.set_lane(limits=Limits(input_tokens_per_minute=2_000))
    executor = await dial(world, slots=1)
    await world.store.put_images(CLIENT, [NEW_IMAGE])
    await insert(world.store, CLIENT, [new_job(world.clock, images=(IMAGE_REF,)) for _ in range(2)])
    async with looping(world.dispatcher.run, world.permits.run, world.completer.run):
        [first] = await executor.receive()
        await executor.say(ready=[first])
        await executor.hear(Permit)
        await executor.offer(1)
        [second] = await executor.receive()
        await executor.say(ready=[second])
        [given_back] = await executor.hear(Withdraw)
        await executor.say(withdrawn=[given_back.attempt_id])
        await executor.offer(1)
        await settle()
        told_at = world.clock.monotonic()
        await executor.tell(succeeded(first, usage=Usage(input_tokens=10)))
        [again] = await executor.receive()

    assert again == AttemptId(second.job_id, 2)
    assert world.clock.monotonic() < told_at + 0.01


@in_virtual_time
async def test_a_reservation_that_nobody_settles_is_forgotten() -> None:
    world = World()
    executor, [attempt, other] = await holding(world, PER_MINUTE, 2, 2)
    async with looping(world.permits.run):
        await executor.say(ready=[attempt])
        await executor.hear(Permit)
        assert world.permits.reserved(attempt)
        await world.clock.sleep(12 * 60)
        await executor.say(ready=[other])
        await executor.hear(Permit)

    assert not world.permits.reserved(attempt)
    assert (await world.lane(LANE)).limits == PER_MINUTE
