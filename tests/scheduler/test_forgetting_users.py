import dataclasses
from typing import Any

import pytest
from scheduler_peers import PNG, TRACEPARENT, dial, submission, succeeded
from scheduler_world import World, fail_times, looping, settle
from stores import CLIENT, IMAGE, IMAGE_REF, LANE, SPEC, claim, insert, new_job, submit, success

from devkit.virtual_time import in_virtual_time
from scheduler.drafts import ImageDraft
from scheduler.errors import ImagesMissing, InvalidRequest, JobPurged, StoreUnavailable
from scheduler.fleet import OutcomeAck, Stop
from scheduler.jobs import Job, JobState
from scheduler.purge import Removal
from scheduler.records import JobQuery, Purged
from scheduler.rpc.errors import translate

USER = "user"
USERS = JobQuery(labels={}, user_id=USER)


async def done(world: World, **changes: Any) -> str:
    """Submit a job that succeeds."""
    [job_id] = await insert(world.store, CLIENT, [new_job(world.clock, **changes)])
    [job] = await claim(world.store, 1)
    await world.store.finish([success(job.attempt_id, world.clock)])
    return job_id


async def read(world: World, job_id: str) -> Job:
    return await world.read.job(CLIENT, job_id, attempts=True)


@in_virtual_time
async def test_jobs_that_run_are_stopped_and_purged_and_what_they_say_late_leaves_nothing() -> None:
    world = World()
    executor = await dial(world, slots=1)
    waiting, running = await submit(world.store, world.clock, 2, 1)
    async with looping(world.dispatcher.run, world.completer.run):
        [attempt] = await executor.receive()
        assert attempt.job_id == running

        removal = await world.purge.user(CLIENT, USER)

        assert await executor.has_heard(Stop) == [Stop(attempt)]
        await executor.tell(succeeded(attempt))
        await executor.hear(OutcomeAck)

    assert removal == Removal(cancelled_jobs=2, purged=Purged(jobs=2))
    jobs = [await read(world, job_id) for job_id in (waiting, running)]
    assert [(job.state, job.purged, job.spec.prompt, job.result) for job in jobs] == [
        (JobState.CANCELLED, True, "", None)
    ] * 2
    assert jobs[1].attempts[0].usage is not None


@in_virtual_time
async def test_what_comes_or_ends_while_jobs_are_removed_is_removed_too() -> None:
    world = World()
    first = await done(world)
    late: list[str] = []

    async def submit_another() -> None:
        if not late:
            late.extend(await submit(world.store, world.clock))

    world.store.before["purge_user"] = submit_another
    removal = await world.purge.user(CLIENT, USER)

    assert removal == Removal(cancelled_jobs=1, purged=Purged(jobs=2, results=1))
    assert [(await read(world, job_id)).purged for job_id in (first, *late)] == [True, True]


@in_virtual_time
async def test_a_client_that_never_stops_submitting_does_not_hold_a_purge_for_ever() -> None:
    world = World()

    async def submit_another() -> None:
        await submit(world.store, world.clock)

    await submit_another()
    world.store.before["purge_user"] = submit_another

    assert await world.purge.user(CLIENT, USER) == Removal(cancelled_jobs=10, purged=Purged(jobs=10))


@in_virtual_time
async def test_a_purge_that_failed_is_called_again() -> None:
    world = World()
    job_id = await done(world)
    world.store.before["post_purged"] = fail_times(1)

    with pytest.raises(StoreUnavailable):
        await world.purge.user(CLIENT, USER)

    assert await world.purge.user(CLIENT, USER) == Removal(cancelled_jobs=0, purged=Purged())
    assert (await read(world, job_id)).purged


@pytest.mark.parametrize(
    ("client_id", "user_id", "paths"),
    [
        ("", "", ["client_id", "user_id"]),
        (CLIENT, "\x00", ["user_id"]),
        ("c" * 200, USER, ["client_id"]),
    ],
)
@in_virtual_time
async def test_bad_ids_are_refused_with_their_paths(client_id: str, user_id: str, paths: list[str]) -> None:
    world = World()

    with pytest.raises(InvalidRequest) as refusal:
        await world.purge.user(client_id, user_id)

    assert [violation.path for violation in refusal.value.violations] == paths
    assert world.store.calls["purge_user"] == 0


@in_virtual_time
async def test_jobs_and_images_that_are_remembered_here_are_forgotten() -> None:
    world = World()
    mine, others = await done(world), await done(world, user_id="another")
    await read(world, mine), await read(world, others)
    world.images.put(CLIENT, IMAGE_REF.sha256, IMAGE, world.images.generation)
    world.images.put("other client", IMAGE_REF.sha256, IMAGE, world.images.generation)

    await world.purge.user(CLIENT, USER)

    assert (await read(world, mine)).spec.prompt == ""
    assert world.images.get(CLIENT, IMAGE_REF.sha256) is None
    assert world.images.get("other client", IMAGE_REF.sha256) == IMAGE
    assert world.recent.get(CLIENT, others) is not None
    assert world.signals.announced > 0


@in_virtual_time
async def test_what_was_read_before_a_purge_is_not_remembered_after_it() -> None:
    world = World()
    job_id = await done(world)

    async def purge_once() -> None:
        if not world.store.calls["purge_user"]:
            await world.purge.user(CLIENT, USER)

    world.store.after["get_jobs"] = purge_once
    before = await read(world, job_id)

    assert before.spec.prompt == SPEC.prompt
    assert (await read(world, job_id)).spec.prompt == ""


@in_virtual_time
async def test_an_image_that_a_purge_removed_while_it_was_stored_is_not_remembered() -> None:
    world = World()
    world.store.after["put_images"] = lambda: world.forgetting.user(CLIENT, USER)

    image = await world.submit.image(CLIENT, PNG, "")

    assert world.images.get(CLIENT, image.sha256) is None


@in_virtual_time
async def test_a_purge_of_another_scheduler_is_heard_at_once_on_a_signal_and_soon_without() -> None:
    world = World()
    job_id = await done(world)
    async with looping(world.forgetting.run):
        await settle()
        for wake in (world.forgetting.wake, lambda: None):
            await read(world, job_id)
            assert world.recent.get(CLIENT, job_id) is not None
            begun = world.clock.monotonic()
            await world.store.post_purged(CLIENT, USER)
            wake()
            await settle()
            while world.recent.get(CLIENT, job_id) is not None:
                await world.clock.sleep(0.1)
            assert world.clock.monotonic() - begun < 1.2


@in_virtual_time
async def test_a_scheduler_that_may_have_missed_a_purge_forgets_everything() -> None:
    world = World()
    job_id = await done(world)
    await read(world, job_id)
    world.images.put(CLIENT, IMAGE_REF.sha256, IMAGE, world.images.generation)
    async with looping(world.forgetting.run):
        await world.clock.sleep(5)
        world.store.away = True
        await world.clock.sleep(6)
        assert world.recent.get(CLIENT, job_id) is not None
        await world.clock.sleep(6)

    assert world.recent.get(CLIENT, job_id) is None
    assert world.images.get(CLIENT, IMAGE_REF.sha256) is None


@in_virtual_time
async def test_a_purged_job_is_not_done_again() -> None:
    world = World()
    job_id = await done(world)
    await world.purge.user(CLIENT, USER)

    with pytest.raises(JobPurged) as refusal:
        await world.again.job(CLIENT, job_id, request_id="", traceparent=TRACEPARENT)

    status = translate(refusal.value)
    assert status is not None
    assert (status.code.name, status.reason) == ("FAILED_PRECONDITION", "JOB_PURGED")
    for dry_run in (True, False):
        states = dataclasses.replace(USERS, states=frozenset({JobState.SUCCEEDED}))
        assert await world.again.jobs(CLIENT, states, dry_run=dry_run, traceparent=TRACEPARENT) == 0


@in_virtual_time
async def test_an_image_that_a_purge_removed_during_its_submission_is_stored_again() -> None:
    world = World()

    def lose() -> None:
        if world.store.calls["insert_jobs"] == 1:
            world.store._images.clear()

    world.store.before["insert_jobs"] = lose
    [(job_id, job)] = await world.submit.jobs(CLIENT, [submission()])

    assert job is not None
    [image] = job.spec.images
    assert image.sha256 in await world.store.get_images(CLIENT, [image.sha256])
    assert [claimed.attempt_id.job_id for claimed in await claim(world.store, lane=LANE)] == [job_id]


@in_virtual_time
async def test_a_submission_whose_named_image_a_purge_removed_is_told_to_upload_it() -> None:
    world = World()
    image = await world.submit.image(CLIENT, PNG, "")
    world.store.before["insert_jobs"] = lambda: world.store._images.clear()

    with pytest.raises(InvalidRequest) as refusal:
        await world.submit.jobs(CLIENT, [submission(images=(ImageDraft(sha256=image.sha256),))])

    assert [violation.path for violation in refusal.value.violations] == ["spec.images[0].sha256"]
    assert await world.store.count_waiting(10) == 0


def test_missing_images_are_a_failed_precondition() -> None:
    status = translate(ImagesMissing(["ab" * 32]))

    assert status is not None
    assert (status.code.name, status.reason) == ("FAILED_PRECONDITION", "IMAGES_GONE")


def test_no_text_of_a_spec_survives_a_purge_but_for_whom_and_on_what_it_ran() -> None:
    full = dataclasses.replace(
        SPEC, system_instruction="s", labels={"a": "b"}, schema_is_struct=True, images=(IMAGE_REF,)
    )

    left = full.without_content()

    kept = {field.name for field in dataclasses.fields(left) if isinstance(getattr(left, field.name), str)}
    assert {name for name in kept if getattr(left, name)} == {"user_id", "model"}
    assert (left.images, left.labels, left.schema_is_struct) == ((), {}, False)
