"""Bad input gets INVALID_ARGUMENT with the dotted path of every bad field, before anything is stored."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2
from google.rpc import error_details_pb2
from system_calls import bad_paths, details

from visionjobs.v1 import job_pb2
from visionjobs.v1 import vision_job_service_pb2 as pb

UNKNOWN_JOB = "01990000-0000-7000-8000-000000000000"


def with_field(**fields: Any) -> Callable[[job_pb2.JobSpec], None]:
    def change(spec: job_pb2.JobSpec) -> None:
        spec.MergeFrom(job_pb2.JobSpec(**fields))

    return change


def without(name: str) -> Callable[[job_pb2.JobSpec], None]:
    return lambda spec: spec.ClearField(name)  # type: ignore[arg-type]


SECOND_STEP = {"prompt": "Judge it.", "response_schema_json": '{"type": "object"}'}


def with_image(**fields: Any) -> Callable[[job_pb2.JobSpec], None]:
    def change(spec: job_pb2.JobSpec) -> None:
        del spec.images[:]
        spec.images.add(**fields)

    return change


GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"

BAD_FIELDS = [
    ("no user", without("user_id"), "spec.user_id"),
    ("a long user", with_field(user_id="u" * 129), "spec.user_id"),
    ("no prompt", without("prompt"), "spec.prompt"),
    ("a blank prompt", with_field(prompt=" \n\t "), "spec.prompt"),
    ("a long prompt", with_field(prompt="p" * (256 * 1024 + 1)), "spec.prompt"),
    ("a prompt with NUL", with_field(prompt="a\x00b"), "spec.prompt"),
    ("no image", without("images"), "spec.images"),
    ("an image without a source", with_image(mime_type="image/png"), "spec.images[0].data"),
    ("an image that is none", with_image(data=b"not an image"), "spec.images[0].data"),
    ("a format that Gemini does not take", with_image(data=GIF), "spec.images[0].data"),
    ("a malformed hash", with_image(sha256="abc"), "spec.images[0].sha256"),
    ("an unknown hash", with_image(sha256="ab" * 32), "spec.images[0].sha256"),
    ("an address without TLS", with_image(uri="http://example.com/a.png"), "spec.images[0].uri"),
    ("an address of a machine here", with_image(uri="https://[::ffff:10.0.0.1]/a.png"), "spec.images[0].uri"),
    ("an address with a password", with_image(uri="https://me:secret@example.com/a.png"), "spec.images[0].uri"),
    ("no schema", without("response_schema_json"), "spec.response_schema_json"),
    ("a schema that is not JSON", with_field(response_schema_json="{"), "spec.response_schema_json"),
    ("a schema that is a list", with_field(response_schema_json="[]"), "spec.response_schema_json"),
    (
        "a schema of a string",
        with_field(response_schema_json='{"type": "string"}'),
        "spec.response_schema_json",
    ),
    (
        "an unknown type in a schema",
        with_field(response_schema_json='{"type": "object", "properties": {"a": {"type": "text"}}}'),
        "spec.response_schema_json.properties.a.type",
    ),
    (
        "a dangling reference in a schema",
        with_field(response_schema_json='{"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}'),
        "spec.response_schema_json.properties.a.$ref",
    ),
    ("an unknown model", with_field(model="gpt-1"), "spec.model"),
    ("a priority out of range", with_field(priority=4), "spec.priority"),
    ("a negative priority", with_field(priority=-1), "spec.priority"),
    ("a short timeout", with_field(timeout=duration_pb2.Duration(seconds=9)), "spec.timeout"),
    ("a long timeout", with_field(timeout=duration_pb2.Duration(seconds=3601)), "spec.timeout"),
    ("too many retries", with_field(max_retries=11), "spec.max_retries"),
    ("negative retries", with_field(max_retries=-1), "spec.max_retries"),
    ("a long label", with_field(labels={"name": "v" * 256}), "spec.labels[name]"),
    ("too many labels", with_field(labels={f"l{i}": "" for i in range(33)}), "spec.labels"),
    ("a hot temperature", with_field(generation={"temperature": 2.1}), "spec.generation.temperature"),
    ("no output tokens", with_field(generation={"max_output_tokens": 0}), "spec.generation.max_output_tokens"),
    ("an unknown resolution", with_field(generation={"media_resolution": "4K"}), "spec.generation.media_resolution"),
    ("an unknown level", with_field(generation={"thinking_level": "DEEP"}), "spec.generation.thinking_level"),
    ("an unknown tier", with_field(generation={"service_tier": "GOLD"}), "spec.generation.service_tier"),
    ("an unknown cache policy", with_field(cache=9), "spec.cache"),
    ("a schedule", with_field(schedule_time=timestamp_pb2.Timestamp(seconds=4_000_000_000)), "spec.schedule_time"),
    ("an expiry that is over", with_field(expire_time=timestamp_pb2.Timestamp(seconds=1_000)), "spec.expire_time"),
    (
        "a second step of no known model",
        with_field(post_process=SECOND_STEP | {"model": "x"}),
        "spec.post_process.model",
    ),
    (
        "a second step without a prompt",
        with_field(post_process=SECOND_STEP | {"prompt": " "}),
        "spec.post_process.prompt",
    ),
]


@pytest.mark.parametrize(("change", "path"), [pytest.param(c, p, id=name) for name, c, p in BAD_FIELDS])
async def test_a_bad_field_is_named_by_its_path_and_nothing_is_stored(
    jobs: Any, spec: job_pb2.JobSpec, change: Callable[[job_pb2.JobSpec], None], path: str
) -> None:
    spec.user_id = "nobody"
    change(spec)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert bad_paths(refused.value) == [path]
    info = details(refused.value)[error_details_pb2.ErrorInfo]
    assert (info.domain, info.reason) == ("visionjobs", "INVALID_REQUEST")
    assert not (await jobs.ListJobs(pb.ListJobsRequest(user_id="nobody"))).jobs


async def test_a_wrong_mime_type_is_named(jobs: Any, spec: job_pb2.JobSpec) -> None:
    spec.images[0].mime_type = "image/jpeg"

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))

    assert bad_paths(refused.value) == ["spec.images[0].mime_type"]


async def test_a_bad_item_refuses_its_whole_batch(jobs: Any, spec: job_pb2.JobSpec) -> None:
    spec.user_id = "batch-of-two"
    bad = job_pb2.JobSpec()
    bad.CopyFrom(spec)
    bad.prompt = ""

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.SubmitJobs(
            pb.SubmitJobsRequest(requests=[pb.SubmitJobRequest(spec=spec), pb.SubmitJobRequest(spec=bad)])
        )

    assert bad_paths(refused.value) == ["requests[1].spec.prompt"]
    assert not (await jobs.ListJobs(pb.ListJobsRequest(user_id="batch-of-two"))).jobs


async def test_all_bad_fields_are_named_at_once(jobs: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.SubmitJob(pb.SubmitJobRequest())

    assert bad_paths(refused.value) == ["spec.user_id", "spec.prompt", "spec.images", "spec.response_schema_json"]


async def test_a_struct_schema_is_named_as_it_was_sent(jobs: Any, spec: job_pb2.JobSpec) -> None:
    schema = struct_pb2.Struct()
    schema.update({"type": "array"})
    spec.response_schema.CopyFrom(schema)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))

    assert bad_paths(refused.value) == ["spec.response_schema"]


async def test_a_malformed_id_is_invalid_and_an_unknown_one_is_not_found(jobs: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as malformed:
        await jobs.GetJob(pb.GetJobRequest(job_id="42"))
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await jobs.GetJob(pb.GetJobRequest(job_id=UNKNOWN_JOB))

    assert bad_paths(malformed.value) == ["job_id"]
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    assert details(unknown.value)[error_details_pb2.ErrorInfo].metadata["job_id"] == UNKNOWN_JOB


async def test_ids_of_a_batch_are_named_one_by_one(jobs: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.BatchGetJobs(pb.BatchGetJobsRequest(job_ids=[UNKNOWN_JOB, "x", ""]))

    assert bad_paths(refused.value) == ["job_ids[1]", "job_ids[2]"]


@pytest.mark.parametrize("token", ["junk", "====", "MTIzIDQ1Ng=="])
async def test_a_malformed_page_token_is_named(jobs: Any, token: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.ListJobs(pb.ListJobsRequest(page_token=token))

    assert bad_paths(refused.value) == ["page_token"]


async def test_a_page_token_of_another_filter_is_refused(jobs: Any, spec: job_pb2.JobSpec) -> None:
    spec.user_id = "pages"
    for _ in range(2):
        await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))
    page = await jobs.ListJobs(pb.ListJobsRequest(user_id="pages", page_size=1))

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.ListJobs(pb.ListJobsRequest(page_token=page.next_page_token))

    assert bad_paths(refused.value) == ["page_token"]


async def test_a_negative_page_size_is_refused_and_a_large_one_is_lowered(jobs: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.ListJobs(pb.ListJobsRequest(page_size=-1))

    assert bad_paths(refused.value) == ["page_size"]
    await jobs.ListJobs(pb.ListJobsRequest(page_size=1_000_000))


async def test_an_upload_begins_with_its_metadata(jobs: Any) -> None:
    async def chunks_only() -> Any:
        yield pb.UploadImageRequest(chunk=b"abc")

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.UploadImage(chunks_only())

    assert bad_paths(refused.value) == ["metadata"]


async def test_a_watch_names_either_ids_or_labels(jobs: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await anext(aiter(jobs.WatchJobs(pb.WatchJobsRequest())))

    assert bad_paths(refused.value) == ["job_ids"]


async def test_labels_to_watch_or_list_by_are_checked_too(jobs: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as watched:
        await anext(aiter(jobs.WatchJobs(pb.WatchJobsRequest(labels={"a": "\0"}))))
    with pytest.raises(grpc.aio.AioRpcError) as listed:
        await jobs.ListJobs(pb.ListJobsRequest(labels={"": "b"}))

    assert bad_paths(watched.value) == ["labels[a]"]
    assert bad_paths(listed.value) == ["labels[]"]


async def test_more_bad_fields_than_an_answer_can_carry_still_come_as_an_answer(jobs: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.SubmitJobs(pb.SubmitJobsRequest(requests=[pb.SubmitJobRequest()] * 1_000))

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "and 3997 more" in str(refused.value.details())
    assert bad_paths(refused.value)[:2] == ["requests[0].spec.user_id", "requests[0].spec.prompt"]


@pytest.mark.parametrize(
    "timeout",
    [
        duration_pb2.Duration(seconds=3_600, nanos=1),
        duration_pb2.Duration(seconds=20, nanos=-1),
        duration_pb2.Duration(seconds=11, nanos=2_000_000_000),
        duration_pb2.Duration(seconds=300_000_000_000),
    ],
)
async def test_a_timeout_just_beyond_its_bound_or_no_duration_at_all_is_refused(
    jobs: Any, spec: job_pb2.JobSpec, timeout: duration_pb2.Duration
) -> None:
    spec.timeout.CopyFrom(timeout)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))

    assert bad_paths(refused.value) == ["spec.timeout"]
