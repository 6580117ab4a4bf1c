"""The client looks after keys, users, changes and links."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fake_answers import failure, job_message, key_message
from fake_keys import SECRET
from fake_scheduler import FakeScheduler
from google.protobuf import duration_pb2, timestamp_pb2

import visionjobs
from visionjobs import AsyncClient, AuditEntry, JobLink, Key, Purged, Role
from visionjobs.mapping import answers
from visionjobs.v1 import admin_service_pb2, job_pb2, vision_job_service_pb2

AWAY = failure("UNAVAILABLE", "Away.", reason="STORE_UNAVAILABLE", retry_after=timedelta(seconds=0.1))


async def test_a_key_is_told_in_plain_values(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.keys["k"] = admin_service_pb2.Key(
        key_id="k",
        client_id="billing",
        role=admin_service_pb2.ROLE_EXECUTOR,
        max_priority=2,
        create_time=timestamp_pb2.Timestamp(seconds=1_800_000_000),
        last_used_time=timestamp_pb2.Timestamp(seconds=1_800_003_600),
        revoke_time=timestamp_pb2.Timestamp(seconds=1_800_007_200),
        submissions_per_second=0.5,
        max_queued_jobs=3,
        old_secret_expire_time=timestamp_pb2.Timestamp(seconds=1_800_010_800),
    )

    assert await client.list_keys() == (
        Key(
            key_id="k",
            client_id="billing",
            role=Role.EXECUTOR,
            max_priority=2,
            create_time=datetime(2027, 1, 15, 8, tzinfo=UTC),
            last_used_time=datetime(2027, 1, 15, 9, tzinfo=UTC),
            revoke_time=datetime(2027, 1, 15, 10, tzinfo=UTC),
            submissions_per_second=0.5,
            max_queued_jobs=3,
            old_secret_expire_time=datetime(2027, 1, 15, 11, tzinfo=UTC),
        ),
    )


@pytest.mark.parametrize("number", [0, 99])
async def test_a_role_that_this_client_does_not_know_is_unknown(
    scheduler: FakeScheduler, client: AsyncClient, number: Any
) -> None:
    scheduler.keys["k"] = key_message("k", role=number)

    [key] = await client.list_keys()

    assert key.role is Role.UNKNOWN
    assert (key.last_used_time, key.revoke_time, key.old_secret_expire_time) == (None, None, None)


async def test_a_key_is_made_with_its_limits(scheduler: FakeScheduler, client: AsyncClient) -> None:
    new = await client.create_key(
        "billing", Role.CLIENT, max_priority=2, submissions_per_second=0.5, max_queued_jobs=1000
    )

    assert (new.key.client_id, new.key.role, new.key.max_priority) == ("billing", Role.CLIENT, 2)
    assert new.secret == SECRET
    assert scheduler.requests == [
        admin_service_pb2.CreateKeyRequest(
            client_id="billing",
            role=admin_service_pb2.ROLE_CLIENT,
            max_priority=2,
            submissions_per_second=0.5,
            max_queued_jobs=1000,
        )
    ]


async def test_limits_that_are_not_named_are_the_schedulers(scheduler: FakeScheduler, client: AsyncClient) -> None:
    await client.create_key("ops", Role.ADMIN)

    assert scheduler.requests == [
        admin_service_pb2.CreateKeyRequest(client_id="ops", role=admin_service_pb2.ROLE_ADMIN)
    ]


async def test_no_key_is_asked_for_in_an_unknown_role(scheduler: FakeScheduler, client: AsyncClient) -> None:
    with pytest.raises(ValueError, match="unknown role"):
        await client.create_key("ops", Role.UNKNOWN)

    assert scheduler.requests == []


async def test_a_secret_is_not_shown_by_what_carries_it(client: AsyncClient) -> None:
    new = await client.create_key("ops", Role.ADMIN)

    assert SECRET not in f"{new!r} {new} {[new]}"
    assert "ops" in repr(new)


async def test_a_key_is_rotated_with_an_overlap_or_without(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.keys["k"] = key_message("k")

    usual = await client.rotate_key("k")
    at_once = await client.rotate_key("k", overlap=timedelta(0))

    assert usual.secret == at_once.secret == SECRET
    assert usual.key.old_secret_expire_time is not None
    assert scheduler.requests == [
        admin_service_pb2.RotateKeyRequest(key_id="k"),
        admin_service_pb2.RotateKeyRequest(key_id="k", overlap=duration_pb2.Duration()),
    ]


async def test_what_could_make_two_keys_or_lose_a_secret_is_asked_once(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    scheduler.keys["k"] = key_message("k")
    scheduler.failures.extend([AWAY, AWAY])

    with pytest.raises(visionjobs.Unavailable):
        await client.create_key("ops", Role.ADMIN)
    with pytest.raises(visionjobs.Unavailable):
        await client.rotate_key("k")

    assert [type(request).__name__ for request in scheduler.requests] == ["CreateKeyRequest", "RotateKeyRequest"]
    assert (await client.create_key("ops", Role.ADMIN)).secret == SECRET


async def test_what_is_asked_once_does_not_wait_for_a_scheduler_that_is_away() -> None:
    def on_retry(*_: object) -> None:
        raise AssertionError("It was repeated.")

    async with AsyncClient("127.0.0.1:1", on_retry=on_retry) as client:
        with pytest.raises(visionjobs.Unavailable) as caught:
            await client.create_key("ops", Role.ADMIN)

    assert caught.value.reason == ""


async def test_everything_else_about_keys_is_repeated_while_nobody_answers(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    scheduler.keys["k"] = key_message("k")
    scheduler.jobs["j"] = job_message("j")

    scheduler.failures.append(AWAY)
    assert (await client.revoke_key("k")).revoke_time == datetime(2027, 1, 15, 9, tzinfo=UTC)
    scheduler.failures.append(AWAY)
    assert len(await client.list_keys()) == 1
    scheduler.failures.append(AWAY)
    assert await client.purge_user("billing", "u-17") == Purged(
        jobs=0, images=0, results=0, cancelled_jobs=0, kept_images=0
    )
    scheduler.failures.append(AWAY)
    assert [entry async for entry in client.audit()] == []
    scheduler.failures.append(AWAY)
    assert (await client.job_link("j")).url


async def test_a_purge_tells_what_it_removed(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.purged = admin_service_pb2.PurgeUserResponse(jobs=1, images=2, results=3, cancelled_jobs=4, kept_images=5)

    purged = await client.purge_user("billing", "u-17")

    assert purged == Purged(jobs=1, images=2, results=3, cancelled_jobs=4, kept_images=5)
    assert scheduler.requests == [admin_service_pb2.PurgeUserRequest(client_id="billing", user_id="u-17")]


async def test_changes_are_told_over_as_many_pages_as_there_are(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.entries = [
        admin_service_pb2.AuditEntry(
            audit_id=number,
            create_time=timestamp_pb2.Timestamp(seconds=1_800_000_000),
            key_id="k",
            client_id="ops",
            method="/visionjobs.v1.AdminService/PauseLane",
            request_json='{"lane":"*"}',
            outcome="OK",
        )
        for number in (5, 4, 3, 2, 1)
    ]

    entries = [entry async for entry in client.audit(page_size=2)]

    assert [entry.audit_id for entry in entries] == [5, 4, 3, 2, 1]
    assert entries[0] == AuditEntry(
        audit_id=5,
        create_time=datetime(2027, 1, 15, 8, tzinfo=UTC),
        key_id="k",
        client_id="ops",
        method="/visionjobs.v1.AdminService/PauseLane",
        request_json='{"lane":"*"}',
        outcome="OK",
    )
    assert [(request.page_size, request.page_token) for request in scheduler.requests] == [(2, ""), (2, "2"), (2, "4")]


async def test_a_job_is_shown_to_others_by_a_link(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.jobs["j"] = job_message("j")

    link = await client.job_link("j", lifetime=timedelta(minutes=5))
    await client.job_link("j")

    assert link == JobLink(
        url="https://jobs.example/jobs/j?link=signed", expire_time=datetime(2027, 1, 15, 8, tzinfo=UTC)
    )
    assert scheduler.requests == [
        vision_job_service_pb2.CreateJobLinkRequest(job_id="j", lifetime=duration_pb2.Duration(seconds=300)),
        vision_job_service_pb2.CreateJobLinkRequest(job_id="j"),
    ]


async def test_a_missing_key_or_job_is_not_found(client: AsyncClient) -> None:
    with pytest.raises(visionjobs.NotFound, match="no key k"):
        await client.rotate_key("k")
    with pytest.raises(visionjobs.NotFound, match="no key k"):
        await client.revoke_key("k")
    with pytest.raises(visionjobs.NotFound, match="no job j"):
        await client.job_link("j")


@pytest.mark.parametrize(
    ("code", "kind"),
    [("UNAUTHENTICATED", visionjobs.Unauthenticated), ("PERMISSION_DENIED", visionjobs.PermissionDenied)],
)
async def test_a_refused_key_is_an_error_of_its_own_and_not_repeated(
    scheduler: FakeScheduler, client: AsyncClient, code: str, kind: type[visionjobs.RpcError]
) -> None:
    scheduler.failures.append(failure(code, "No.", reason="KEY_INVALID"))

    with pytest.raises(kind, match="No") as caught:
        await client.list_keys()

    assert (caught.value.reason, len(scheduler.requests)) == ("KEY_INVALID", 1)


def test_the_plain_values_have_the_names_of_the_contract() -> None:
    pairs: list[tuple[type[Any], Any]] = [
        (Key, admin_service_pb2.Key),
        (AuditEntry, admin_service_pb2.AuditEntry),
        (Purged, admin_service_pb2.PurgeUserResponse),
        (JobLink, vision_job_service_pb2.CreateJobLinkResponse),
        (visionjobs.NewKey, admin_service_pb2.CreateKeyResponse),
    ]

    for plain, message in pairs:
        assert [field.name for field in dataclasses.fields(plain)] == [
            field.name for field in message.DESCRIPTOR.fields
        ]


def test_a_purged_jobs_output_is_none() -> None:
    job = answers.job(job_message("j", "SUCCEEDED", purged=True, result=job_pb2.Result(model_version="m")))

    assert job.purged
    assert job.result is not None
    assert job.result.output is None
