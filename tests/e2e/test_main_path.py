"""From an image to JSON, over the real processes."""

import asyncio
import json
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from system_calls import SAMPLES, SCHEMA

from devkit.stack import Stack
from visionjobs.v1 import job_pb2
from visionjobs.v1 import vision_job_service_pb2 as pb


async def finished(jobs: Any, job_id: str) -> job_pb2.Job:
    async with asyncio.timeout(30):
        async for change in jobs.WatchJob(pb.WatchJobRequest(job_id=job_id, view=job_pb2.JOB_VIEW_FULL)):
            last: job_pb2.Job = change.job
    return last


async def test_a_photograph_becomes_json_that_fits_its_schema(jobs: Any, spec: job_pb2.JobSpec) -> None:
    accepted = (await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))).job

    job = await finished(jobs, accepted.job_id)

    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    assert isinstance(json.loads(job.result.output_json)["what"], str)
    assert "emulator" in job.result.model_version
    assert job.result.usage.image_tokens > 0
    assert job.result.cost_usd > 0
    assert [attempt.outcome for attempt in job.attempts] == ["SUCCEEDED"]
    assert job.executor_id


async def test_an_accepted_job_is_told_back_whole_but_for_its_bytes(jobs: Any, spec: job_pb2.JobSpec) -> None:
    spec.labels["kind"] = "cup"
    spec.generation.temperature = 0.5
    spec.generation.media_resolution = "media_resolution_low"

    job = (await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))).job

    assert job.state == job_pb2.JOB_STATE_QUEUED
    assert job.wait.reason != job_pb2.WAIT_REASON_UNSPECIFIED
    assert len(job.trace_id) == 32
    assert job.spec.prompt == spec.prompt
    assert job.spec.response_schema_json == SCHEMA
    assert (job.spec.priority, job.spec.max_retries, job.spec.timeout.seconds) == (2, 3, 300)
    assert job.spec.model == "gemini-3.8-flash"
    assert job.spec.generation.media_resolution == "LOW"
    assert dict(job.spec.labels) == {"kind": "cup"}
    assert job.spec.images[0].WhichOneof("source") == "sha256"
    assert job.spec.images[0].mime_type == "image/png"


async def test_a_struct_schema_keeps_its_integers(jobs: Any, spec: job_pb2.JobSpec) -> None:
    schema = struct_pb2.Struct()
    schema.update(
        {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 3}}, "required": ["n"]}
    )
    spec.response_schema.CopyFrom(schema)

    accepted = (await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))).job
    job = await finished(jobs, accepted.job_id)

    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    assert json.loads(job.result.output_json)["n"] in (1, 2, 3)
    assert accepted.spec.response_schema["properties"]["n"]["maximum"] == 3


async def test_a_watcher_sees_the_job_move_forward_only(jobs: Any, spec: job_pb2.JobSpec) -> None:
    accepted = (await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))).job

    seen = [
        (change.job.state, change.job.stage)
        async for change in jobs.WatchJob(pb.WatchJobRequest(job_id=accepted.job_id))
    ]

    assert seen == sorted(seen, key=lambda state: (state[0] > job_pb2.JOB_STATE_RUNNING, state[0], state[1]))
    assert seen[-1][0] == job_pb2.JOB_STATE_SUCCEEDED
    assert len(set(seen)) == len(seen)


async def test_a_watch_of_a_finished_job_tells_it_and_ends(jobs: Any, spec: job_pb2.JobSpec) -> None:
    accepted = (await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))).job
    await finished(jobs, accepted.job_id)

    changes = [change async for change in jobs.WatchJob(pb.WatchJobRequest(job_id=accepted.job_id))]

    assert [change.job.state for change in changes] == [job_pb2.JOB_STATE_SUCCEEDED]
    assert not changes[0].job.spec.prompt


async def test_many_jobs_are_watched_on_one_stream_by_their_labels(jobs: Any, spec: job_pb2.JobSpec) -> None:
    spec.labels["run"] = "many"
    batch = pb.SubmitJobsRequest(requests=[pb.SubmitJobRequest(spec=spec)] * 20)
    accepted = {job.job_id for job in (await jobs.SubmitJobs(batch)).jobs}

    final = set()
    async with asyncio.timeout(30):
        async for change in jobs.WatchJobs(pb.WatchJobsRequest(labels={"run": "many"})):
            if change.job.state == job_pb2.JOB_STATE_SUCCEEDED:
                final.add(change.job.job_id)

    assert final == accepted
    assert len(accepted) == 20


async def test_an_uploaded_image_is_named_by_its_hash(jobs: Any, spec: job_pb2.JobSpec) -> None:
    data = (SAMPLES / "hubble_deep_field.jpg").read_bytes()

    async def upload() -> Any:
        yield pb.UploadImageRequest(metadata=pb.ImageMetadata(mime_type="image/jpeg"))
        for start in range(0, len(data), 100_000):
            yield pb.UploadImageRequest(chunk=data[start : start + 100_000])

    image = (await jobs.UploadImage(upload())).image
    del spec.images[:]
    spec.images.add(sha256=image.sha256)
    accepted = (await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))).job
    job = await finished(jobs, accepted.job_id)

    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    assert job.spec.images[0].mime_type == "image/jpeg"


async def test_the_same_request_id_is_the_same_job(jobs: Any, spec: job_pb2.JobSpec) -> None:
    request = pb.SubmitJobRequest(spec=spec, request_id="once")

    first, second = [(await jobs.SubmitJob(request)).job for _ in range(2)]
    request.spec.prompt = "Something else?"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.SubmitJob(request)

    assert first.job_id == second.job_id
    assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_known_and_repeated_ids_of_a_batch_collapse(jobs: Any, spec: job_pb2.JobSpec) -> None:
    known = (await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec, request_id="known"))).job

    batch = await jobs.SubmitJobs(
        pb.SubmitJobsRequest(
            requests=[
                pb.SubmitJobRequest(spec=spec, request_id="new"),
                pb.SubmitJobRequest(spec=spec, request_id="known"),
                pb.SubmitJobRequest(spec=spec, request_id="new"),
            ]
        )
    )

    ids = [job.job_id for job in batch.jobs]
    assert ids[1] == known.job_id
    assert ids[0] == ids[2] != ids[1]


async def test_pages_show_every_job_once_newest_first(jobs: Any, spec: job_pb2.JobSpec) -> None:
    spec.user_id = "reader"
    accepted = [(await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))).job.job_id for _ in range(5)]

    shown, token = [], ""
    while True:
        page = await jobs.ListJobs(pb.ListJobsRequest(user_id="reader", page_size=2, page_token=token))
        shown += [job.job_id for job in page.jobs]
        token = page.next_page_token
        if not token:
            break

    assert shown == accepted[::-1]


async def test_lists_filter_by_state_and_label(jobs: Any, spec: job_pb2.JobSpec) -> None:
    spec.user_id = "filter"
    spec.labels["colour"] = "red"
    red = (await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))).job
    await finished(jobs, red.job_id)

    async def listed(**query: Any) -> list[str]:
        return [job.job_id for job in (await jobs.ListJobs(pb.ListJobsRequest(user_id="filter", **query))).jobs]

    assert await listed(states=[job_pb2.JOB_STATE_SUCCEEDED], labels={"colour": "red"}) == [red.job_id]
    assert await listed(labels={"colour": "blue"}) == []
    assert await listed(states=[job_pb2.JOB_STATE_FAILED]) == []


async def test_a_batch_of_jobs_comes_in_the_order_of_its_ids(jobs: Any, spec: job_pb2.JobSpec) -> None:
    batch = await jobs.SubmitJobs(pb.SubmitJobsRequest(requests=[pb.SubmitJobRequest(spec=spec)] * 3))
    ids = [job.job_id for job in batch.jobs][::-1]

    answer = await jobs.BatchGetJobs(pb.BatchGetJobsRequest(job_ids=ids))

    assert [job.job_id for job in answer.jobs] == ids
    assert not any(job.spec.prompt for job in answer.jobs)


async def test_the_emulator_billed_what_the_job_says(system: Stack, jobs: Any, spec: job_pb2.JobSpec) -> None:
    spec.prompt = "Billed once?"
    accepted = (await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))).job

    job = await finished(jobs, accepted.job_id)

    assert system.emulator_url
    assert job.result.usage.input_tokens > job.result.usage.image_tokens > 0
