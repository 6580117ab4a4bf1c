import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_answers import failure, job_message, succeeded
from fake_scheduler import FakeScheduler
from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2
from google.rpc import status_pb2
from opentelemetry import trace

import visionjobs
from visionjobs import AsyncClient, CachePolicy, Generation, Image, JobSpec, JobStage, JobState, JobView, PostProcess
from visionjobs.v1 import job_pb2

SCHEMA = {"type": "object", "properties": {"total": {"type": "number"}, "a": {"type": "string"}}}


def spec(**changes: Any) -> JobSpec:
    values: dict[str, Any] = {
        "user_id": "u",
        "images": [Image(data=b"png")],
        "prompt": "Read.",
        "response_schema": SCHEMA,
    }
    return JobSpec(**(values | changes))


async def test_every_option_of_a_spec_reaches_the_scheduler(scheduler: FakeScheduler, client: AsyncClient) -> None:
    await client.submit(
        spec(
            images=[
                Image(data=b"png", mime_type="image/png"),
                Image(sha256="ab"),
                Image.from_uri("https://example.com/a.png", mime_type="image/png"),
            ],
            system_instruction="Be brief.",
            model="gemini-3.8-flash",
            priority=1,
            timeout=timedelta(seconds=90),
            max_retries=0,
            schedule_time=datetime(2027, 1, 15, 8, tzinfo=UTC),
            expire_time=datetime(2027, 1, 15, 9, tzinfo=UTC),
            labels={"team": "a"},
            generation=Generation(
                temperature=0.0,
                max_output_tokens=9,
                media_resolution="LOW",
                thinking_level="HIGH",
                service_tier="FLEX",
            ),
            post_process=PostProcess(prompt="Judge.", response_schema=SCHEMA, model="deepseek-v4-pro"),
            cache=CachePolicy.REFRESH,
            fail_fast=True,
        ),
        request_id="r-1",
    )

    [request] = scheduler.requests
    assert request.request_id == "r-1"
    assert request.spec == job_pb2.JobSpec(
        user_id="u",
        images=[
            job_pb2.Image(data=b"png", mime_type="image/png"),
            job_pb2.Image(sha256="ab"),
            job_pb2.Image(uri="https://example.com/a.png", mime_type="image/png"),
        ],
        prompt="Read.",
        system_instruction="Be brief.",
        response_schema_json=json.dumps(SCHEMA),
        model="gemini-3.8-flash",
        priority=1,
        timeout=duration_pb2.Duration(seconds=90),
        max_retries=0,
        schedule_time=timestamp_pb2.Timestamp(seconds=1_800_000_000),
        expire_time=timestamp_pb2.Timestamp(seconds=1_800_003_600),
        labels={"team": "a"},
        generation=job_pb2.Generation(
            temperature=0.0, max_output_tokens=9, media_resolution="LOW", thinking_level="HIGH", service_tier="FLEX"
        ),
        post_process=job_pb2.PostProcess(
            model="deepseek-v4-pro", prompt="Judge.", response_schema_json=json.dumps(SCHEMA)
        ),
        cache=job_pb2.CACHE_POLICY_REFRESH,
        fail_fast=True,
    )


async def test_what_a_caller_leaves_out_is_left_to_the_scheduler(scheduler: FakeScheduler, client: AsyncClient) -> None:
    await client.submit(spec())

    sent = scheduler.requests[0].spec
    assert not sent.HasField("timeout")
    assert not sent.HasField("max_retries")
    assert not sent.HasField("schedule_time")
    assert not sent.HasField("expire_time")
    assert not sent.generation.HasField("temperature")
    assert not sent.generation.HasField("max_output_tokens")
    assert not sent.HasField("post_process")


@pytest.mark.parametrize("name", ["schedule_time", "expire_time"])
def test_a_time_without_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has no time zone"):
        spec(**{name: datetime(2027, 1, 15, 8)})  # noqa: DTZ001 - what is refused


async def test_a_schema_given_as_text_is_sent_as_it_is(scheduler: FakeScheduler, client: AsyncClient) -> None:
    text = '{"type":  "object", "properties": {"b": {}, "a": {}}}'

    await client.submit(spec(response_schema=text))

    assert scheduler.requests[0].spec.response_schema_json == text


async def test_every_submission_has_a_request_id_of_its_own(scheduler: FakeScheduler, client: AsyncClient) -> None:
    await client.submit(spec())
    await client.submit(spec())

    first, second = (request.request_id for request in scheduler.requests)
    assert first
    assert second
    assert first != second


async def test_a_job_is_told_in_plain_values(scheduler: FakeScheduler, client: AsyncClient) -> None:
    begin = timestamp_pb2.Timestamp(seconds=1_800_000_000, nanos=500_000_000)
    usage = job_pb2.Usage(input_tokens=5, output_tokens=4, thinking_tokens=3, cached_tokens=2, image_tokens=1)
    stages = [
        job_pb2.StageDuration(stage=job_pb2.JOB_STAGE_VALIDATING, duration=duration_pb2.Duration(nanos=20_000_000))
    ]
    error = job_pb2.JobError(kind="TIMEOUT", message="Too slow.", retryable=True)
    scheduler.jobs["j"] = job_message(
        "j",
        "RUNNING",
        spec=job_pb2.JobSpec(user_id="u", images=[job_pb2.Image(sha256="ab", mime_type="image/png")], max_retries=0),
        client_id="c",
        stage=job_pb2.JOB_STAGE_GEMINI_ANALYZING,
        stage_start_time=begin,
        step=1,
        attempt=2,
        retry_count=1,
        create_time=begin,
        executor_id="e",
        trace_id="t",
        retried_from="i",
        wait=job_pb2.Wait(reason=job_pb2.WAIT_REASON_QUOTA, message="Soon.", until_time=begin),
        result=job_pb2.Result(
            output_json='{"total": 4}', model_version="m", usage=usage, cost_usd=0.5, stage_durations=stages
        ),
        error=error,
        attempts=[job_pb2.Attempt(attempt=1, step=1, start_time=begin, outcome="FAILED", error=error)],
    )

    job = await client.get("j")

    then = datetime.fromtimestamp(1_800_000_000.5, UTC)
    assert job.state is JobState.RUNNING
    assert job.stage is JobStage.GEMINI_ANALYZING
    assert (job.stage_start_time, job.create_time, job.start_time) == (then, then, None)
    assert (job.step, job.attempt, job.retry_count) == (1, 2, 1)
    assert (job.client_id, job.executor_id, job.trace_id, job.retried_from) == ("c", "e", "t", "i")
    assert job.spec.images == (Image(sha256="ab", mime_type="image/png"),)
    assert (job.spec.max_retries, job.spec.timeout) == (0, None)
    assert job.wait == visionjobs.Wait(reason=visionjobs.WaitReason.QUOTA, message="Soon.", until_time=then)
    assert job.error == visionjobs.JobError(kind="TIMEOUT", message="Too slow.", retryable=True)
    assert job.result is not None
    assert job.result.output == {"total": 4}
    assert job.result.usage == visionjobs.Usage(
        input_tokens=5, output_tokens=4, thinking_tokens=3, cached_tokens=2, image_tokens=1
    )
    assert job.result.stage_durations == (
        visionjobs.StageDuration(stage=JobStage.VALIDATING, duration=timedelta(milliseconds=20)),
    )
    [attempt] = job.attempts
    assert (attempt.attempt, attempt.outcome, attempt.error, attempt.usage) == (1, "FAILED", job.error, None)


async def test_a_job_of_two_steps_is_told_in_plain_values(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.jobs["j"] = job_message(
        "j",
        "FAILED",
        spec=job_pb2.JobSpec(
            images=[job_pb2.Image(uri="https://example.com/a.png", mime_type="image/png")],
            post_process=job_pb2.PostProcess(model="m", prompt="p", response_schema_json="{}"),
        ),
        step=2,
        cost_usd=0.25,
        attempts=[
            job_pb2.Attempt(
                attempt=3,
                step=2,
                outcome="FAILED",
                model="m",
                paid=True,
                unanswered=True,
                flaw="NOT_JSON",
                output_path="a[0]",
                raw_answer="Sure!",
                service_tier="FLEX",
            )
        ],
    )

    job = await client.get("j")

    assert job.spec.images == (Image.from_uri("https://example.com/a.png", mime_type="image/png"),)
    assert job.spec.post_process == PostProcess(prompt="p", response_schema="{}", model="m")
    assert (job.step, job.cost_usd) == (2, 0.25)
    [attempt] = job.attempts
    assert (attempt.step, attempt.model, attempt.paid, attempt.unanswered) == (2, "m", True, True)
    assert (attempt.flaw, attempt.output_path, attempt.raw_answer) == ("NOT_JSON", "a[0]", "Sure!")
    assert attempt.service_tier == "FLEX"


async def test_a_struct_schema_comes_back_as_text_with_integers(scheduler: FakeScheduler, client: AsyncClient) -> None:
    schema = struct_pb2.Struct()
    schema.update({"type": "object", "minProperties": 1, "properties": {"x": {"maximum": 1.5}}})
    scheduler.jobs["j"] = job_message("j", spec=job_pb2.JobSpec(response_schema=schema))

    job = await client.get("j")

    assert job.spec.response_schema == '{"minProperties": 1, "properties": {"x": {"maximum": 1.5}}, "type": "object"}'


async def test_a_stage_of_a_newer_scheduler_is_unknown_and_a_state_is_refused(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    scheduler.jobs["stage"] = job_message("stage", "RUNNING")
    scheduler.jobs["stage"].stage = 99  # type: ignore[assignment]  # a number that no stage has yet
    scheduler.jobs["state"] = job_pb2.Job(job_id="state")
    scheduler.jobs["state"].state = 99  # type: ignore[assignment]  # a number that no state has yet

    assert (await client.get("stage")).stage is JobStage.UNKNOWN
    with pytest.raises(visionjobs.UnexpectedAnswer, match="99"):
        await client.get("state")


async def test_many_jobs_are_submitted_in_one_call_in_order(scheduler: FakeScheduler, client: AsyncClient) -> None:
    jobs = await client.submit_many([spec(prompt="a"), spec(prompt="b")], request_ids=["1", "2"])

    assert [job.job_id for job in jobs] == ["job-1", "job-2"]
    [request] = scheduler.requests
    assert [(each.request_id, each.spec.prompt) for each in request.requests] == [("1", "a"), ("2", "b")]


async def test_ids_and_specs_of_different_number_are_refused_before_the_call(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    with pytest.raises(ValueError, match="argument 2"):
        await client.submit_many([spec(), spec()], request_ids=["1"])

    assert scheduler.requests == []


async def test_an_upload_sends_what_it_is_and_then_its_bytes(
    scheduler: FakeScheduler, client: AsyncClient, tmp_path: Path
) -> None:
    data = bytes(600_000)
    (tmp_path / "photo.png").write_bytes(data)

    from_bytes = await client.upload_image(data, mime_type="image/png")
    from_path = await client.upload_image(tmp_path / "photo.png")

    sha256 = hashlib.sha256(data).hexdigest()
    assert from_bytes == Image(sha256=sha256, mime_type="image/png")
    assert from_path == Image(sha256=sha256)
    assert [request.WhichOneof("content") for request in scheduler.requests[:4]] == [
        "metadata",
        "chunk",
        "chunk",
        "chunk",
    ]


async def test_images_that_do_not_fit_in_one_request_are_uploaded_first(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    one, two = Image(data=bytes(13_000_000)), Image(data=b"x" * 13_000_000)

    await client.submit(spec(images=[one, two, one, Image(sha256="ab")]))

    uploads = [
        request
        for request in scheduler.requests
        if getattr(request, "WhichOneof", None)
        and request.DESCRIPTOR.name == "UploadImageRequest"
        and request.HasField("metadata")
    ]
    sent = scheduler.requests[-1].spec.images
    assert len(uploads) == 2
    assert [image.sha256 for image in sent] == [
        hashlib.sha256(one.data or b"").hexdigest(),
        hashlib.sha256(two.data or b"").hexdigest(),
        hashlib.sha256(one.data or b"").hexdigest(),
        "ab",
    ]


async def test_a_list_walks_all_pages_with_the_same_filter(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.jobs = {f"j{i}": job_message(f"j{i}") for i in range(5)}

    found = [
        job.job_id
        async for job in client.list(
            user_id="u", states=[JobState.QUEUED], labels={"a": "b"}, view=JobView.FULL, page_size=2
        )
    ]

    assert found == ["j0", "j1", "j2", "j3", "j4"]
    assert [request.page_token for request in scheduler.requests] == ["", "2", "4"]
    for request in scheduler.requests:
        assert (request.user_id, request.states, request.labels) == ("u", [job_pb2.JOB_STATE_QUEUED], {"a": "b"})
        assert request.view == job_pb2.JOB_VIEW_FULL


async def test_a_batch_is_answered_in_the_order_of_its_ids(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.jobs = {"a": job_message("a"), "b": job_message("b")}

    assert [job.job_id for job in await client.batch_get(["b", "a"])] == ["b", "a"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (failure("INVALID_ARGUMENT"), visionjobs.InvalidArgument),
        (failure("NOT_FOUND"), visionjobs.NotFound),
        (failure("ALREADY_EXISTS"), visionjobs.AlreadyExists),
        (failure("FAILED_PRECONDITION"), visionjobs.FailedPrecondition),
        (failure("RESOURCE_EXHAUSTED"), visionjobs.ResourceExhausted),
        (failure("DEADLINE_EXCEEDED"), visionjobs.DeadlineExceeded),
        (failure("INTERNAL"), visionjobs.RpcError),
    ],
)
async def test_every_status_has_its_error(
    scheduler: FakeScheduler,
    client: AsyncClient,
    status: status_pb2.Status,
    expected: type[visionjobs.RpcError],
) -> None:
    scheduler.failures.append(status)

    with pytest.raises(visionjobs.RpcError) as caught:
        await client.get("j")

    assert type(caught.value) is expected


async def test_an_error_carries_what_the_scheduler_says_about_it(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.failures.append(
        failure("INVALID_ARGUMENT", "Bad.", reason="INVALID_JOB", violations={"spec.prompt": "is blank"})
    )

    with pytest.raises(visionjobs.InvalidArgument) as caught:
        await client.submit(spec())

    error = caught.value
    assert (str(error), error.code, error.reason) == ("Bad.", "INVALID_ARGUMENT", "INVALID_JOB")
    assert error.metadata == {"job_id": "x"}
    assert error.violations == (visionjobs.Violation("spec.prompt", "is blank"),)


async def test_a_detail_that_cannot_be_read_does_not_hide_the_error(
    scheduler: FakeScheduler, client: AsyncClient
) -> None:
    garbled = failure("NOT_FOUND", "No such job.", reason="JOB_NOT_FOUND")
    garbled.details.add(type_url="type.googleapis.com/google.rpc.BadRequest", value=b"\xff\xff")
    scheduler.failures.append(garbled)

    with pytest.raises(visionjobs.NotFound) as caught:
        await client.get("j")

    assert caught.value.reason == "JOB_NOT_FOUND"


async def test_a_request_that_grpc_itself_refuses_is_an_error_of_the_tree(client: AsyncClient) -> None:
    with pytest.raises(visionjobs.ResourceExhausted) as caught:
        await client.submit(spec(prompt="x" * 34_000_000))

    assert caught.value.reason == ""


async def test_the_key_goes_with_every_call(scheduler: FakeScheduler) -> None:
    async with AsyncClient(scheduler.address, " secret\n") as client:
        [_ async for _ in client.list()]
        await client.upload_image(b"x")
        await client.submit(spec())
        [_ async for _ in client.watch("job-1")]

    assert len(scheduler.metadata) == 4
    assert {metadata["authorization"] for metadata in scheduler.metadata} == {"Bearer secret"}


async def test_without_a_key_none_is_sent(scheduler: FakeScheduler, client: AsyncClient) -> None:
    [_ async for _ in client.list()]

    assert "authorization" not in scheduler.metadata[0]


async def test_a_key_that_cannot_be_sent_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="API key") as caught:
        AsyncClient(api_key="sec\nret")

    assert "ret" not in str(caught.value)


async def test_address_and_key_come_from_the_environment(
    scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISIONJOBS_ADDRESS", scheduler.address)
    monkeypatch.setenv("VISIONJOBS_API_KEY", "secret")

    async with AsyncClient() as client:
        [_ async for _ in client.list()]

    assert scheduler.metadata[0]["authorization"] == "Bearer secret"


async def test_a_current_span_is_the_parent_of_the_call(scheduler: FakeScheduler, client: AsyncClient) -> None:
    context = trace.SpanContext(trace_id=0xABC, span_id=0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))

    with trace.use_span(trace.NonRecordingSpan(context)):
        await client.submit(spec())
    await client.submit(spec())

    assert scheduler.metadata[0]["traceparent"] == f"00-{0xABC:032x}-{0xDEF:016x}-01"
    assert "traceparent" not in scheduler.metadata[1]


async def test_a_submission_can_be_waited_for(scheduler: FakeScheduler, client: AsyncClient) -> None:
    scheduler.streams.append([job_message("job-1"), succeeded("job-1")])

    result = await client.submit_and_wait(spec())

    assert result.output == {"total": 4.5}
    assert not result.emulated
