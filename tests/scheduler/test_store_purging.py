"""Conformance of the stores: what a purge of a user removes, and what it leaves."""

import dataclasses
import datetime
from typing import Any

import pytest
from stores import (
    CLIENT,
    ERROR,
    IMAGE_REF,
    KEY,
    NEW_IMAGE,
    Age,
    back,
    claim,
    connect,
    failure,
    insert,
    lost,
    new_job,
    record,
    see,
    submit,
    submit_alike,
    success,
)

from scheduler.errors import ImagesMissing
from scheduler.jobs import AttemptOutcome, Job, JobState, NewImage, PostProcess
from scheduler.ports import Store, StoreClock
from scheduler.records import Accepted, AdvanceRecord, JobQuery, Purged, UsageQuery

USER = "user"
OTHER = "another"
SECOND_STEP = PostProcess(
    model="deepseek-v4-flash", prompt="Shorter.", schema_json='{"type": "object"}', schema_is_struct=False
)


async def succeed(store: Store, time: StoreClock, output: str = '{"a":1}') -> str:
    """Let the job that comes next succeed."""
    [job] = await claim(store, 1)
    await store.finish([success(job.attempt_id, time, output=output)])
    return job.attempt_id.job_id


async def take_in(store: Store, time: StoreClock, user_id: str = USER, **changes: Any) -> Accepted:
    """Submit one of several identical requests."""
    [accepted] = await store.insert_jobs(CLIENT, [new_job(time, dedup_key=KEY, user_id=user_id, **changes)])
    return accepted


async def outputs(store: Store, *job_ids: str) -> list[str | None]:
    results = [(await see(store, job_id)).result for job_id in job_ids]
    return [result.output_json if result else None for result in results]


def purged(job: Job) -> Job:
    """Return the job as a purge leaves it."""

    def silent(item: Any) -> Any:
        return dataclasses.replace(item, error=dataclasses.replace(item.error, message="")) if item.error else item

    left: Job = silent(
        dataclasses.replace(
            job,
            spec=job.spec.without_content(),
            result=dataclasses.replace(job.result, output_json="") if job.result else None,
            attempts=tuple(silent(attempt) for attempt in job.attempts),
            purged=True,
        )
    )
    return left


async def end_in_every_way(store: Store, time: StoreClock) -> list[str]:
    """Make a job that succeeded after a failure, one that failed, one that was cancelled while it ran."""
    await connect(store)
    content: dict[str, Any] = {"labels": {"for": "them"}, "system_instruction": "Be brief.", "images": (IMAGE_REF,)}
    await store.put_images(CLIENT, [NEW_IMAGE])
    job_ids = await insert(store, CLIENT, [new_job(time, **content) for _ in range(3)])
    first, second, _ = [job.attempt_id for job in await claim(store)]
    await store.give_back([back(first, time, cost_usd=0.25)])
    [again] = await claim(store)
    await store.finish([success(again.attempt_id, time), failure(second, time)])
    await store.cancel(CLIENT, job_ids)
    return job_ids


async def test_content_goes_and_what_a_bill_needs_stays(store: Store, time: StoreClock) -> None:
    job_ids = await end_in_every_way(store, time)
    before = [await see(store, job_id) for job_id in job_ids]
    assert [job.state for job in before] == [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]

    told = await store.purge_user(CLIENT, USER)

    assert told == Purged(jobs=3, results=1, images=1)
    assert [await see(store, job_id) for job_id in job_ids] == [purged(job) for job in before]
    assert await store.get_images(CLIENT, [IMAGE_REF.sha256]) == {}


async def test_what_steps_gave_and_what_was_wrong_with_answers_goes(store: Store, time: StoreClock) -> None:
    [job_id] = await insert(store, CLIENT, [new_job(time, post_process=SECOND_STEP)])
    [first] = await claim(store)
    wrong = back(first.attempt_id, time, cost_usd=0.25)
    record_of_wrong = dataclasses.replace(
        wrong.record, flaw="SCHEMA_MISMATCH", output_path="people[0].name", raw_answer="raw"
    )
    await store.give_back([dataclasses.replace(wrong, record=record_of_wrong)])
    [again] = await claim(store)
    given = record(again.attempt_id, time, AttemptOutcome.SUCCEEDED)
    await store.advance([AdvanceRecord(record=given, output_json='{"name":"Ann"}')])
    assert await store.step_outputs([job_id]) == {job_id: '{"name":"Ann"}'}
    await store.cancel(CLIENT, [job_id])

    await store.purge_user(CLIENT, USER)

    assert await store.step_outputs([job_id]) == {}
    attempts = (await see(store, job_id)).attempts
    assert [(each.flaw, each.output_path, each.raw_answer) for each in attempts] == [
        ("SCHEMA_MISMATCH", "", ""),
        ("", "", ""),
    ]
    assert attempts[0].cost_usd == 0.25


async def test_usage_keeps_its_sums_and_loses_its_labels(store: Store, time: StoreClock) -> None:
    labels = [{"for": "them"}, {"for": "others"}, {}]
    jobs = [new_job(time, labels=each) for each in labels]
    await insert(store, CLIENT, [*jobs, new_job(time, user_id=OTHER, labels={"for": "them"})])
    ended = [job.attempt_id for job in await claim(store)]
    await store.finish([success(attempt, time, cost_usd=0.5) for attempt in ended])

    await store.purge_user(CLIENT, USER)

    today = time.now().date()
    days = datetime.timedelta(days=2)
    query = UsageQuery(from_day=today - days, to_day=today + days, group_by=("user", "label:for"))
    rows = await store.usage(CLIENT, query, limit=10)
    assert [(*row.group.values(), row.jobs, row.cost_usd) for row in rows] == [
        (OTHER, "them", 1, 0.5),
        (USER, "", 3, 1.5),
    ]


async def test_what_is_gone_is_not_removed_again(store: Store, time: StoreClock) -> None:
    await end_in_every_way(store, time)
    await store.purge_user(CLIENT, USER)

    assert await store.purge_user(CLIENT, USER) == Purged()
    assert await store.purge_user(CLIENT, "nobody") == Purged()


async def test_purged_jobs_are_still_listed_but_not_by_their_labels(store: Store, time: StoreClock) -> None:
    job_ids = await end_in_every_way(store, time)
    await store.purge_user(CLIENT, USER)

    async def listed(query: JobQuery) -> list[str]:
        jobs = await store.list_jobs(CLIENT, query, before=None, limit=10, attempts=True)
        return sorted(job.job_id for job in jobs)

    assert await listed(JobQuery(user_id=USER, labels={})) == sorted(job_ids)
    assert await listed(JobQuery(user_id=USER, labels={"for": "them"})) == []


async def test_other_users_and_other_clients_keep_everything(store: Store, time: StoreClock) -> None:
    image: dict[str, Any] = {"images": (IMAGE_REF,)}
    for client_id in (CLIENT, "other client"):
        await store.put_images(client_id, [NEW_IMAGE])
    [theirs] = await insert(store, CLIENT, [new_job(time, user_id=OTHER)])
    [elsewhere] = await insert(store, "other client", [new_job(time, **image)])
    await insert(store, CLIENT, [new_job(time, **image)])
    for _ in range(3):
        await succeed(store, time)
    before = await see(store, theirs)

    assert await store.purge_user(CLIENT, USER) == Purged(jobs=1, results=1, images=1)

    assert await see(store, theirs) == before
    [job] = (await store.get_jobs("other client", [elsewhere], attempts=False)).values()
    assert (job.purged, job.spec.prompt) == (False, "What is this?")
    assert job.result is not None
    assert job.result.output_json == '{"a":1}'
    assert await store.find_images("other client", [IMAGE_REF.sha256]) == {IMAGE_REF.sha256: IMAGE_REF}


async def test_jobs_that_are_not_final_are_left_for_another_time(store: Store, time: StoreClock) -> None:
    waiting, running = await submit(store, time, 2, 1)
    [job] = await claim(store, 1)
    before = [await see(store, waiting), await see(store, running)]

    assert await store.purge_user(CLIENT, USER) == Purged()
    assert [await see(store, waiting), await see(store, running)] == before

    await store.finish([success(job.attempt_id, time)])
    await store.cancel(CLIENT, [waiting])
    assert await store.purge_user(CLIENT, USER) == Purged(jobs=2, results=1)


async def test_a_shared_result_is_handed_on_to_those_who_share_it(store: Store, time: StoreClock) -> None:
    leader = (await take_in(store, time)).job_id
    followers = [(await take_in(store, time, user)).job_id for user in (OTHER, USER, "third")]
    await succeed(store, time)
    late = (await take_in(store, time, OTHER)).job_id
    sharing = [followers[0], followers[2], late]
    before = [await see(store, job_id) for job_id in sharing]
    assert before[0].result is not None
    assert (before[0].result.cached, before[0].result.model_version) == (True, "gemini-3.8-flash")

    assert await store.purge_user(CLIENT, USER) == Purged(jobs=2, results=2)

    assert [await see(store, job_id) for job_id in sharing] == before
    assert await outputs(store, leader, followers[1]) == ["", ""]


async def test_a_result_that_was_handed_on_answers_as_long_as_it_lived(
    store: Store, time: StoreClock, age: Age
) -> None:
    await take_in(store, time)
    await take_in(store, time, OTHER)
    await succeed(store, time)
    await store.purge_user(CLIENT, USER)

    answered = await take_in(store, time, "third")

    assert answered.is_cached
    done = await see(store, answered.job_id)
    assert done.result is not None
    assert (done.result.output_json, done.result.model_version) == ('{"a":1}', "gemini-3.8-flash")
    await age(datetime.timedelta(minutes=61))
    assert not (await take_in(store, time, "third")).is_cached


async def test_a_result_goes_from_hand_to_hand_until_nobody_shares_it(store: Store, time: StoreClock) -> None:
    users = [USER, OTHER, "third", "fourth"]
    jobs = [(await take_in(store, time, user)).job_id for user in users]
    await succeed(store, time)

    for gone, user in enumerate(users, start=1):
        before = [await see(store, job_id) for job_id in jobs]
        assert await store.purge_user(CLIENT, user) == Purged(jobs=1, results=1)
        assert await see(store, jobs[gone - 1]) == purged(before[gone - 1])
        assert [await see(store, job_id) for job_id in jobs[gone:]] == before[gone:]

    assert await outputs(store, *jobs) == [""] * 4
    again = await take_in(store, time, OTHER)
    assert (again.is_cached, again.leader) == (False, None)
    assert [job.attempt_id.job_id for job in await claim(store)] == [again.job_id]


async def test_a_result_that_nobody_shares_answers_no_more(store: Store, time: StoreClock) -> None:
    await take_in(store, time)
    await succeed(store, time)
    await store.purge_user(CLIENT, USER)

    again = await take_in(store, time, OTHER)
    assert (again.is_cached, again.leader) == (False, None)
    assert (await take_in(store, time, OTHER)).leader == again.job_id


async def test_a_newer_result_of_another_user_goes_on_answering(store: Store, time: StoreClock) -> None:
    await take_in(store, time)
    await succeed(store, time, '"old"')
    await take_in(store, time, OTHER, cache=2)
    await succeed(store, time, '"new"')

    await store.purge_user(CLIENT, USER)

    answered = await take_in(store, time, "third")
    assert answered.is_cached
    assert await outputs(store, answered.job_id) == ['"new"']


async def test_a_follower_goes_on_in_the_place_of_a_leader_that_is_cancelled_and_purged(
    store: Store, time: StoreClock
) -> None:
    leader = (await take_in(store, time)).job_id
    follower = (await take_in(store, time, OTHER)).job_id
    await claim(store, 1)

    await store.cancel(CLIENT, [leader])
    await store.purge_user(CLIENT, USER)

    [job] = await claim(store)
    assert (job.attempt_id.job_id, job.spec.prompt) == (follower, "What is this?")
    await store.finish([success(job.attempt_id, time)])
    assert await outputs(store, follower) == ['{"a":1}']


@pytest.mark.parametrize("outcome", [AttemptOutcome.SUCCEEDED, AttemptOutcome.FAILED])
async def test_what_is_told_late_adds_its_cost_and_no_content(
    store: Store, time: StoreClock, outcome: AttemptOutcome
) -> None:
    job_ids = await submit(store, time, 2, 2)
    gone, kept = [job.attempt_id for job in await claim(store)]
    await store.cancel(CLIENT, job_ids[:1])
    await store.purge_user(CLIENT, USER)
    await store.cancel(CLIENT, job_ids[1:])

    late = [dataclasses.replace(record(each, time, outcome, cost_usd=0.5), raw_answer="raw") for each in (gone, kept)]
    await store.note_late(late)

    [attempt] = (await see(store, gone.job_id)).attempts
    assert (attempt.outcome, attempt.cost_usd, attempt.usage) == (outcome, 0.5, late[0].usage)
    assert attempt.error == (dataclasses.replace(ERROR, message="") if late[0].error else None)
    [attempt] = (await see(store, kept.job_id)).attempts
    assert attempt.error == late[1].error


async def test_a_late_success_of_a_purged_job_changes_nothing(store: Store, time: StoreClock) -> None:
    [job_id] = await submit(store, time)
    [job] = await claim(store)
    await store.give_back([lost(job.attempt_id, time)])
    await store.cancel(CLIENT, [job_id])
    await store.purge_user(CLIENT, USER)
    before = await see(store, job_id)

    assert list((await store.finish([success(job.attempt_id, time)])).changed) == []
    assert await see(store, job_id) == before


async def test_an_image_stays_as_long_as_an_unfinished_job_of_another_user_needs_it(
    store: Store, time: StoreClock
) -> None:
    await store.put_images(CLIENT, [NEW_IMAGE])
    image: dict[str, Any] = {"images": (IMAGE_REF,)}
    [mine, theirs] = await insert(store, CLIENT, [new_job(time, **image), new_job(time, user_id=OTHER, **image)])
    await store.cancel(CLIENT, [mine])

    told = await store.purge_user(CLIENT, USER)

    assert told == Purged(jobs=1, kept_images=frozenset({IMAGE_REF.sha256}))
    assert await store.find_images(CLIENT, [IMAGE_REF.sha256]) == {IMAGE_REF.sha256: IMAGE_REF}
    await store.cancel(CLIENT, [theirs])
    assert await store.purge_user(CLIENT, OTHER) == Purged(jobs=1, images=1)


async def test_an_image_that_a_finished_job_of_another_user_used_goes(store: Store, time: StoreClock) -> None:
    await store.put_images(CLIENT, [NEW_IMAGE])
    await insert(store, CLIENT, [new_job(time, user_id=user, images=(IMAGE_REF,)) for user in (USER, OTHER)])
    for _ in range(2):
        await succeed(store, time)

    assert await store.purge_user(CLIENT, USER) == Purged(jobs=1, results=1, images=1)


async def test_an_image_that_is_sent_again_after_a_purge_is_there_again(store: Store, time: StoreClock) -> None:
    await store.put_images(CLIENT, [NEW_IMAGE])
    await insert(store, CLIENT, [new_job(time, images=(IMAGE_REF,))])
    await succeed(store, time)
    await store.purge_user(CLIENT, USER)

    await store.put_images(CLIENT, [NEW_IMAGE])
    [job_id] = await insert(store, CLIENT, [new_job(time, user_id=OTHER, images=(IMAGE_REF,))])

    assert [job.attempt_id.job_id for job in await claim(store)] == [job_id]


async def test_jobs_are_not_stored_without_their_images(store: Store, time: StoreClock) -> None:
    missing = dataclasses.replace(IMAGE_REF, sha256="00" * 32)
    await store.put_images(CLIENT, [NewImage(ref=IMAGE_REF, data=NEW_IMAGE.data)])
    jobs = [
        new_job(time, request_id="r", dedup_key=KEY),
        new_job(time, images=(IMAGE_REF,)),
        new_job(time, images=(IMAGE_REF, missing)),
    ]

    for refused in (jobs, jobs[2:]):
        with pytest.raises(ImagesMissing) as refusal:
            await store.insert_jobs(CLIENT, refused)
        assert refusal.value.sha256s == (missing.sha256,)
    with pytest.raises(ImagesMissing):
        await store.insert_jobs("other client", jobs[1:2])

    assert await store.count_waiting(10) == 0
    # Neither the request_id nor the key was taken.
    [accepted] = await store.insert_jobs(CLIENT, jobs[:1])
    assert accepted == Accepted(job_id=jobs[0].job_id)


async def test_purges_are_told_to_all(store: Store) -> None:
    assert list(await store.take_purged()) == []
    await store.post_purged(CLIENT, USER)
    await store.post_purged(CLIENT, OTHER)

    assert sorted(await store.take_purged()) == [(CLIENT, OTHER), (CLIENT, USER)]
    assert list(await store.take_purged()) == []
    assert list(await store.take_stops()) == []


async def test_several_identical_requests_of_the_same_user_go_together(store: Store, time: StoreClock) -> None:
    job_ids = await submit_alike(store, time, 2, 2, 2)
    await succeed(store, time)

    assert await store.purge_user(CLIENT, USER) == Purged(jobs=3, results=3)
    assert await outputs(store, *job_ids) == [""] * 3
