import datetime
import hashlib
from typing import Any

import pytest
from scheduler_peers import PNG, TRACEPARENT, dial, submission
from scheduler_world import World, fail_times, looping, settle
from stores import CLIENT, LANE

from devkit.virtual_time import in_virtual_time
from policies.quota import Limits
from scheduler.drafts import ImageDraft
from scheduler.errors import InvalidRequest, NotAccepting, RequestIdReused, Stopping, StoreUnavailable
from scheduler.fleet import Assignment
from scheduler.jobs import CachePolicy, Generation, Job, JobState
from scheduler.records import JobQuery
from scheduler.submit import Submission

SHA256 = hashlib.sha256(PNG).hexdigest()


async def submit(world: World, *submissions: Submission) -> list[tuple[str, Job | None]]:
    return list(await world.submit.jobs(CLIENT, submissions))


async def stored(world: World, client_id: str = CLIENT) -> list[str]:
    return sorted(await world.store.list_ids(client_id, JobQuery(labels={}), before=None, limit=5_000))


async def violations(world: World, *submissions: Submission) -> dict[str, str]:
    """Return what is wrong with submissions, by path; nothing of them may be stored."""
    with pytest.raises(InvalidRequest) as refusal:
        await submit(world, *submissions)
    assert await stored(world) == []
    return {violation.path: violation.description for violation in refusal.value.violations}


@in_virtual_time
async def test_an_answered_submission_is_stored_as_it_was_answered() -> None:
    world = World()

    [(job_id, job)] = await submit(world, submission(labels={"b": "2", "a": "1"}, priority=1))

    assert job is not None
    assert job == await world.see(job_id)
    assert (job.state, job.traceparent, job.client_id) == (JobState.QUEUED, TRACEPARENT, CLIENT)
    assert job.spec.images[0].sha256 == SHA256
    assert await world.store.get_images(CLIENT, [SHA256]) == {SHA256: PNG}


@in_virtual_time
async def test_a_submission_wakes_the_dispatchers_here_and_elsewhere() -> None:
    world = World()
    executor = await dial(world, slots=1)
    async with looping(world.dispatcher.run):
        await settle()
        await submit(world, submission())
        [assignment] = await executor.hear(Assignment)

    assert world.clock.monotonic() < 0.1
    assert world.signals.announced == 1
    # The image is at hand without another read.
    assert assignment.images == {SHA256: PNG}
    assert world.store.calls["get_images"] == 0


@in_virtual_time
async def test_a_batch_is_answered_in_its_order_and_its_duplicates_collapse() -> None:
    world = World()

    answers = await submit(world, submission("a"), submission("b", prompt="Another?"), submission("a"))
    again = await submit(world, submission("b", prompt="Another?"))

    assert [job_id for job_id, _ in answers] == [*await stored(world), answers[0][0]]
    assert [job is None for _, job in answers] == [False, False, True]
    assert again == [(answers[1][0], None)]


@in_virtual_time
async def test_a_request_id_with_another_spec_is_refused_and_stores_nothing() -> None:
    world = World()
    [(first, _)] = await submit(world, submission("a"))

    with pytest.raises(RequestIdReused) as refusal:
        await submit(world, submission(), submission("a", prompt="Another?"))

    assert (refusal.value.request_id, refusal.value.job_id) == ("a", first)
    assert await stored(world) == [first]


@in_virtual_time
async def test_all_that_is_wrong_with_a_batch_is_named_with_its_path() -> None:
    found = await violations(
        World(),
        submission(path="requests[0]"),
        submission("r" * 129, path="requests[1]", prompt=" "),
        submission(path="requests[2]", priority=4, images=(ImageDraft(data=b"no image"),)),
    )

    assert [*found] == [
        "requests[1].request_id",
        "requests[1].spec.prompt",
        "requests[2].spec.images[0].data",
        "requests[2].spec.priority",
    ]


@pytest.mark.parametrize("count", [0, 1_001])
@in_virtual_time
async def test_a_batch_has_1_to_1000_entries(count: int) -> None:
    assert [*await violations(World(), *[submission()] * count)] == ["requests"]


@in_virtual_time
async def test_an_image_that_is_named_by_its_hash_must_be_known_to_the_client() -> None:
    world = World()
    await world.submit.image("somebody else", PNG, "image/png")
    by_hash = submission(path="requests[0]", images=(ImageDraft(sha256=SHA256),))

    assert [*await violations(world, by_hash)] == ["requests[0].spec.images[0].sha256"]
    image = await world.submit.image(CLIENT, PNG, "image/png")
    [(_, job)] = await submit(world, by_hash)

    assert job is not None
    assert job.spec.images == (image,)
    assert (image.sha256, image.mime_type, image.size) == (SHA256, "image/png", len(PNG))


@pytest.mark.parametrize(
    ("data", "mime_type", "path"),
    [(b"no image", "image/png", "chunk"), (PNG, "image/jpeg", "metadata.mime_type")],
)
@in_virtual_time
async def test_a_bad_upload_is_refused_with_its_path(data: bytes, mime_type: str, path: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await World().submit.image(CLIENT, data, mime_type)

    assert [violation.path for violation in refusal.value.violations] == [path]


@pytest.mark.parametrize(
    ("schedule", "expire", "path"),
    [
        (31 * 86_400, None, "schedule_time"),
        (None, 0, "expire_time"),
        (None, -5, "expire_time"),
        (60, 60, "expire_time"),
    ],
)
@in_virtual_time
async def test_times_that_cannot_be_kept_are_refused(schedule: float | None, expire: float | None, path: str) -> None:
    world = World()
    times: dict[str, Any] = {
        name: world.clock.now() + datetime.timedelta(seconds=seconds)
        for name, seconds in (("schedule_time", schedule), ("expire_time", expire))
        if seconds is not None
    }

    assert [*await violations(world, submission(**times))] == [f"spec.{path}"]


@in_virtual_time
async def test_a_scheduled_job_waits_for_its_time_and_is_dispatched_then_without_a_poll() -> None:
    world = World()
    executor = await dial(world, slots=1)
    async with looping(world.dispatcher.run):
        await world.clock.sleep(3)
        due = world.clock.now() + datetime.timedelta(seconds=0.3)
        [(_, job)] = await submit(world, submission(schedule_time=due))
        await executor.hear(Assignment)

    assert job is not None
    assert (job.state, job.next_attempt_time) == (JobState.SCHEDULED, due)
    assert datetime.timedelta() <= world.clock.now() - due < datetime.timedelta(seconds=0.1)


@in_virtual_time
async def test_a_schedule_time_that_is_over_means_at_once() -> None:
    world = World()

    [(_, job)] = await submit(world, submission(schedule_time=world.clock.now() - datetime.timedelta(hours=1)))

    assert job is not None
    assert (job.state, job.next_attempt_time) == (JobState.QUEUED, None)


@in_virtual_time
async def test_a_job_expires_when_its_time_comes_without_a_poll() -> None:
    world = World()
    async with looping(world.dispatcher.run):
        await world.clock.sleep(3)
        [(job_id, _)] = await submit(world, submission(expire_time=world.clock.now() + datetime.timedelta(seconds=0.3)))
        await world.clock.sleep(0.31)

        assert (await world.see(job_id)).state is JobState.EXPIRED


@in_virtual_time
async def test_an_estimate_above_what_a_lane_allows_is_refused_with_its_path() -> None:
    world = World()
    fitting, large = submission(path="requests[0]"), submission(path="requests[1]", prompt="word " * 2_000)

    await world.set_lane(limits=Limits(input_tokens_per_minute=2_000))
    by_tokens = await violations(world, fitting, large)
    await world.set_lane(limits=Limits(dollars_per_10_minutes=0.000_01))
    by_dollars = await violations(world, fitting)
    await world.set_lane(limits=Limits(input_tokens_per_minute=10_000, dollars_per_10_minutes=1.0))
    accepted = await submit(world, fitting, large)

    assert [*by_tokens] == ["requests[1].spec"]
    assert "input tokens" in by_tokens["requests[1].spec"]
    assert [*by_dollars] == ["requests[0].spec"]
    assert "US dollars" in by_dollars["requests[0].spec"]
    assert len(accepted) == 2


@in_virtual_time
async def test_an_identical_request_follows_the_one_under_way_and_makes_it_as_urgent() -> None:
    world = World()
    await world.store.add_lanes([LANE])
    [(leader, _)] = await submit(world, submission(priority=3, user_id="one"))
    [(_, follower)] = await submit(world, submission(priority=1, user_id="other", labels={"a": "b"}))
    await submit(world, submission(priority=2, prompt="Another?"))

    assert follower is not None
    assert (follower.state, follower.leader) == (JobState.QUEUED, leader)
    [head] = (await world.store.lane_heads(thorough=True)).heads
    assert head.rank == 1


@in_virtual_time
async def test_a_follower_is_accepted_even_if_its_leader_could_not_be_raised() -> None:
    world = World()
    await submit(world, submission(priority=3))
    world.store.before["raise_leader"] = fail_times(1)

    [(job_id, follower)] = await submit(world, submission(priority=1))

    assert follower == await world.see(job_id)


@in_virtual_time
async def test_a_request_that_wants_to_be_alone_follows_nobody() -> None:
    world = World()

    answers = await submit(world, submission(), submission(cache=int(CachePolicy.OFF)))

    assert [job.leader for _, job in answers if job] == [None, None]


@in_virtual_time
async def test_nothing_is_taken_while_the_door_is_closed_or_the_scheduler_stops() -> None:
    world = World()
    world.board.set_accepting(accepting=False)
    with pytest.raises(NotAccepting):
        await submit(world, submission())

    world.submit.stop()
    with pytest.raises(Stopping):
        await submit(world, submission())
    with pytest.raises(Stopping):
        await world.submit.image(CLIENT, PNG, "image/png")

    assert await stored(world) == []


@in_virtual_time
async def test_without_the_database_nothing_is_promised() -> None:
    world = World()
    world.store.away = True

    with pytest.raises(StoreUnavailable):
        await submit(world, submission())


@in_virtual_time
async def test_a_spec_that_says_nothing_more_gets_the_defaults() -> None:
    [(_, job)] = await submit(World(), submission())

    assert job is not None
    spec = job.spec
    assert (spec.model, spec.priority, spec.max_retries, spec.cache) == ("gemini-3.8-flash", 2, 3, CachePolicy.USE)
    assert (spec.timeout, spec.generation) == (datetime.timedelta(minutes=5), Generation())
