"""The sync client runs in a thread, as it would in a program without a loop, against a server on the test's loop."""

import asyncio
import threading
from datetime import date, timedelta

import pytest
from fake_answers import job_message, lane_message, succeeded
from fake_scheduler import FakeScheduler
from opentelemetry import trace

import visionjobs
from visionjobs import Client, Image, JobFilter, JobSpec, JobState, Role
from visionjobs.v1 import admin_service_pb2, vision_job_service_pb2

SPEC = JobSpec(user_id="u", images=[Image(data=b"png")], prompt="Read.", response_schema={"type": "object"})


async def test_every_method_works_from_ordinary_code(scheduler: FakeScheduler) -> None:
    def use() -> None:
        with Client(scheduler.address) as client:
            assert client.submit(SPEC, request_id="1").job_id == "job-1"
            assert [job.job_id for job in client.submit_many([SPEC], request_ids=["2"])] == ["job-2"]
            assert client.upload_image(b"png").sha256
            assert client.get("job-1").state is JobState.QUEUED
            assert [job.job_id for job in client.batch_get(["job-2", "job-1"])] == ["job-2", "job-1"]
            assert [job.job_id for job in client.list(page_size=1)] == ["job-1", "job-2"]
            scheduler.streams.extend([[job_message("job-1"), succeeded("job-1")], [succeeded("job-1")]])
            assert [job.state for job in client.watch("job-1")] == [JobState.QUEUED, JobState.SUCCEEDED]
            assert [job.job_id for job in client.watch_many(["job-1"])] == ["job-1"]
            scheduler.streams.extend([[succeeded("job-1")], [succeeded("job-3")]])
            assert client.result("job-1").output == {"total": 4.5}
            assert client.submit_and_wait(SPEC).output == {"total": 4.5}

    await asyncio.to_thread(use)


async def test_jobs_and_lanes_are_looked_after_from_ordinary_code(scheduler: FakeScheduler) -> None:
    scheduler.jobs = {"a": job_message("a"), "b": job_message("b", "FAILED"), "c": job_message("c")}
    scheduler.lanes["gemini/x"] = lane_message("gemini/x")

    def use() -> None:
        with Client(scheduler.address) as client:
            assert client.cancel("a").state is JobState.CANCELLED
            assert client.retry("b", request_id="1").retried_from == "b"
            assert client.retry_jobs(JobFilter(states=[JobState.FAILED]), dry_run=True) == 1
            assert client.cancel_jobs(JobFilter(states=[JobState.QUEUED])) == 2
            assert [lane.lane for lane in client.list_lanes()] == ["gemini/x"]
            assert client.update_lane("gemini/x", max_in_flight=3).max_in_flight == 3
            assert [lane.paused for lane in client.pause_lane("*")] == [True]
            assert [lane.paused for lane in client.resume_lane("gemini/x")] == [False]
            assert client.reset_breaker("gemini/x").breaker_failures == 0
            assert client.set_accepting(False) is False

    await asyncio.to_thread(use)


async def test_keys_are_looked_after_from_ordinary_code(scheduler: FakeScheduler) -> None:
    scheduler.jobs["j"] = job_message("j")
    scheduler.entries = [admin_service_pb2.AuditEntry(audit_id=number) for number in (3, 2, 1)]

    def use() -> None:
        with Client(scheduler.address) as client:
            new = client.create_key("billing", Role.CLIENT, max_priority=2)
            assert [key.key_id for key in client.list_keys()] == [new.key.key_id]
            assert client.rotate_key(new.key.key_id, overlap=timedelta(minutes=1)).secret == new.secret
            assert client.revoke_key(new.key.key_id).revoke_time is not None
            assert client.purge_user("billing", "u-17").jobs == 0
            assert [entry.audit_id for entry in client.audit(page_size=2)] == [3, 2, 1]
            assert client.job_link("j", lifetime=timedelta(minutes=1)).url.endswith("signed")

    await asyncio.to_thread(use)


async def test_usage_and_alerts_are_read_from_ordinary_code(scheduler: FakeScheduler) -> None:
    scheduler.usage = [vision_job_service_pb2.UsageRow(group={"user": "u-17"}, jobs=3)]
    scheduler.alerts = [admin_service_pb2.Alert(name="MODEL_REROUTED", active=False)]

    def use() -> None:
        with Client(scheduler.address) as client:
            [row] = client.get_usage(date(2026, 11, 1), date(2026, 12, 1), group_by=["user"])
            assert (row.group, row.jobs) == ({"user": "u-17"}, 3)
            assert client.list_alerts() == ()
            assert [alert.name for alert in client.list_alerts(include_ended=True)] == ["MODEL_REROUTED"]

    await asyncio.to_thread(use)


async def test_errors_come_through(scheduler: FakeScheduler) -> None:
    def use() -> None:
        with Client(scheduler.address) as client:
            with pytest.raises(visionjobs.NotFound):
                client.get("nobody")
            with pytest.raises(visionjobs.NotFound):
                next(client.watch("nobody"))

    await asyncio.to_thread(use)


async def test_a_watch_that_is_left_early_ends_its_call(scheduler: FakeScheduler) -> None:
    scheduler.streams.append([job_message("j"), asyncio.Event()])

    def use(loop: asyncio.AbstractEventLoop) -> None:
        with Client(scheduler.address) as client:
            for job in client.watch("j"):
                assert job.job_id == "j"
                break
            asyncio.run_coroutine_threadsafe(scheduler.left.wait(), loop).result(10)

    await asyncio.to_thread(use, asyncio.get_running_loop())


async def test_many_threads_share_a_client(scheduler: FakeScheduler) -> None:
    scheduler.jobs = {f"j{i}": job_message(f"j{i}") for i in range(8)}

    def use(client: Client, job_id: str) -> str:
        return client.get(job_id).job_id

    client = await asyncio.to_thread(Client, scheduler.address)
    answers = [asyncio.to_thread(use, client, f"j{i}") for i in range(8)]
    assert await asyncio.gather(*answers) == [f"j{i}" for i in range(8)]
    await asyncio.to_thread(client.close)


async def test_the_span_of_the_calling_thread_is_the_parent(scheduler: FakeScheduler) -> None:
    context = trace.SpanContext(trace_id=0xABC, span_id=0xDEF, is_remote=False)

    def use() -> None:
        with Client(scheduler.address) as client, trace.use_span(trace.NonRecordingSpan(context)):
            client.submit(SPEC)
            list(client.list())

    await asyncio.to_thread(use)

    assert [f"{0xABC:032x}" in str(metadata["traceparent"]) for metadata in scheduler.metadata] == [True, True]


def test_a_closed_client_leaves_no_thread_and_takes_no_call() -> None:
    client = Client("127.0.0.1:1")

    client.close()
    client.close()

    assert "visionjobs-client" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(RuntimeError, match="closed"):
        client.get("j")
    with pytest.raises(RuntimeError, match="closed"):
        next(client.list())


def test_a_client_that_cannot_be_made_leaves_no_thread() -> None:
    with pytest.raises(ValueError, match="API key"):
        Client(api_key="sec\nret")

    assert "visionjobs-client" not in {thread.name for thread in threading.enumerate()}
