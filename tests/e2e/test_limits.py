"""Every bound that a caller can hit, from outside: its status, its details, and that the next honest call works."""

from __future__ import annotations  # grpc's classes are generic in their stubs only

import asyncio
import contextlib
import datetime
import json
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import grpc
import pytest
from google.protobuf import duration_pb2, timestamp_pb2
from google.rpc import error_details_pb2
from key_calls import Doors, KeyHolder, closed
from system_calls import StartStack, bad_paths, details

from visionjobs.v1 import job_pb2
from visionjobs.v1 import vision_job_service_pb2 as pb

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
MIB = 1024 * 1024
UNKNOWN_JOB = "01990000-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class Refusal:
    """What a refused caller is told."""

    code: grpc.StatusCode
    reason: str
    metadata: dict[str, str]
    paths: Sequence[str]
    retry_seconds: float | None

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> Self:
        found = details(error)
        info, retry = found[error_details_pb2.ErrorInfo], found.get(error_details_pb2.RetryInfo)
        return cls(
            code=error.code(),
            reason=info.reason,
            metadata=dict(info.metadata),
            paths=bad_paths(error) if error_details_pb2.BadRequest in found else (),
            retry_seconds=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
        )


async def refusal(call: Any) -> Refusal:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return Refusal.of(caught.value)


async def first_refusal(call: Callable[[], Any]) -> Refusal:
    """Call again and again until it is refused: when the server hears of other calls is its own affair."""
    async with asyncio.timeout(10):
        while True:
            try:
                await call()
            except grpc.aio.AioRpcError as error:
                return Refusal.of(error)


async def succeeding(call: Callable[[], Any]) -> None:
    """Call again and again until it succeeds: when the server hears that others have ended is its own affair."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await call()
                return


def png(width: int, height: int, *, padding: int = 0) -> bytes:
    """Return an image of this size as its header says, and of so many bytes more."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    pixels = zlib.compress(bytes(height * (1 + (width + 7) // 8)), 9)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"") + bytes(padding)


@pytest.fixture
def spec(spec: job_pb2.JobSpec) -> job_pb2.JobSpec:
    """A small one, of which a message has room for a thousand."""
    spec.images[0].data = png(1, 1)
    return spec


def nested(depth: int) -> str:
    """Return a schema of so many objects, each in the other."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth - 1):
        schema = {"type": "object", "properties": {"a": schema}}
    return json.dumps(schema)


def large_schema(size: int) -> str:
    schema = '{"type": "object", "properties": {"a": {"type": "string", "description": "'
    return schema + "d" * (size - len(schema) - 4) + '"}}}'


def fields(**values: Any) -> Callable[[job_pb2.JobSpec], None]:
    def change(spec: job_pb2.JobSpec) -> None:
        for name in values:
            spec.ClearField(name)  # type: ignore[arg-type]
        spec.MergeFrom(job_pb2.JobSpec(**values))

    return change


def images(*data: bytes) -> Callable[[job_pb2.JobSpec], None]:
    return fields(images=[job_pb2.Image(data=each) for each in data])


def seconds(value: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromTimedelta(datetime.timedelta(seconds=value))
    return duration


def in_days(days: float) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days))
    return stamp


SPEC_BOUNDS = [
    # What is just allowed, what is just not, and where it is said.
    ("user_id", fields(user_id="u" * 128), fields(user_id="u" * 129), "user_id"),
    ("prompt", fields(prompt="p" * 262_144), fields(prompt="p" * 262_145), "prompt"),
    (
        "system_instruction",
        fields(system_instruction="é" * 131_072),
        fields(system_instruction="é" * 131_072 + "e"),
        "system_instruction",
    ),
    (
        "schema's size",
        fields(response_schema_json=large_schema(65_536)),
        fields(response_schema_json=large_schema(65_537)),
        "response_schema_json",
    ),
    ("schema's depth", fields(response_schema_json=nested(16)), fields(response_schema_json=nested(17)), None),
    ("images", images(*[png(1, 1)] * 16), images(*[png(1, 1)] * 17), "images"),
    ("an image's width", images(png(16_384, 1)), images(png(16_385, 1)), "images[0].data"),
    ("an image's height", images(png(1, 16_384)), images(png(1, 16_385)), "images[0].data"),
    ("an image's pixels", images(png(10_000, 10_000)), images(png(10_001, 10_000)), "images[0].data"),
    ("no pixels", images(png(1, 1)), images(png(0, 1)), "images[0].data"),
    (
        "an image's bytes",
        images(png(1, 1, padding=20 * MIB - len(png(1, 1)))),
        images(png(1, 1, padding=20 * MIB - len(png(1, 1)) + 1)),
        "images[0].data",
    ),
    (
        "labels",
        fields(labels={f"l{number}": "v" for number in range(32)}),
        fields(labels={f"l{number}": "v" for number in range(33)}),
        "labels",
    ),
    ("a label's name", fields(labels={"n" * 63: "v"}), fields(labels={"n" * 64: "v"}), f"labels[{'n' * 63}]"),
    ("a label's value", fields(labels={"name": "v" * 255}), fields(labels={"name": "v" * 256}), "labels[name]"),
    ("max_retries", fields(max_retries=10), fields(max_retries=11), "max_retries"),
    ("a short timeout", fields(timeout=seconds(10)), fields(timeout=seconds(9.999)), "timeout"),
    ("a long timeout", fields(timeout=seconds(3_600)), fields(timeout=seconds(3_600.001)), "timeout"),
    ("temperature", fields(generation={"temperature": 2.0}), fields(generation={"temperature": 2.01}), None),
    ("schedule_time", fields(schedule_time=in_days(29.9)), fields(schedule_time=in_days(30.1)), "schedule_time"),
]


@pytest.mark.parametrize(
    ("allowed", "refused", "path"), [pytest.param(*bound, id=name) for name, *bound in SPEC_BOUNDS]
)
async def test_a_spec_at_its_bound_is_taken_and_one_beyond_it_is_refused(
    jobs: Any,
    spec: job_pb2.JobSpec,
    allowed: Callable[[job_pb2.JobSpec], None],
    refused: Callable[[job_pb2.JobSpec], None],
    path: str | None,
) -> None:
    beyond = job_pb2.JobSpec()
    beyond.CopyFrom(spec)
    refused(beyond)
    allowed(spec)

    found = await refusal(jobs.SubmitJob(pb.SubmitJobRequest(spec=beyond)))

    assert (found.code, found.reason) == (INVALID, "INVALID_REQUEST")
    assert len(found.paths) == 1
    assert path is None or found.paths == [f"spec.{path}"]
    assert (await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))).job.job_id


def calls_beyond(spec: job_pb2.JobSpec) -> dict[str, tuple[str, Callable[[Any], Any]]]:
    """Return calls beyond a bound by the path that is named, each to be made with a stub."""
    request = pb.SubmitJobRequest(spec=spec)
    ids = [UNKNOWN_JOB] * 1_001
    many = {f"l{number}": "v" for number in range(33)}
    return {
        "a batch": ("requests", lambda jobs: jobs.SubmitJobs(pb.SubmitJobsRequest(requests=[request] * 1_001))),
        "no batch": ("requests", lambda jobs: jobs.SubmitJobs(pb.SubmitJobsRequest())),
        "request_id": (
            "request_id",
            lambda jobs: jobs.SubmitJob(pb.SubmitJobRequest(spec=spec, request_id="r" * 129)),
        ),
        "ids to read": ("job_ids", lambda jobs: jobs.BatchGetJobs(pb.BatchGetJobsRequest(job_ids=ids[:101]))),
        "ids to watch": ("job_ids", lambda jobs: anext(aiter(jobs.WatchJobs(pb.WatchJobsRequest(job_ids=ids))))),
        "labels to list by": ("labels", lambda jobs: jobs.ListJobs(pb.ListJobsRequest(labels=many))),
        "labels to watch by": ("labels", lambda jobs: anext(aiter(jobs.WatchJobs(pb.WatchJobsRequest(labels=many))))),
        "labels to cancel by": (
            "filter.labels",
            lambda jobs: jobs.CancelJobs(pb.CancelJobsRequest(filter=pb.JobFilter(labels=many))),
        ),
        "a page token": ("page_token", lambda jobs: jobs.ListJobs(pb.ListJobsRequest(page_token="A" * MIB))),
        "a page size": ("page_size", lambda jobs: jobs.ListJobs(pb.ListJobsRequest(page_size=-1))),
        "an upload's bytes": ("chunk", lambda jobs: upload(jobs, png(1, 1, padding=20 * MIB))),
        "an upload's pixels": ("chunk", lambda jobs: upload(jobs, png(16_385, 1))),
    }


async def upload(jobs: Any, data: bytes, **call: Any) -> Any:
    async def requests() -> AsyncIterator[pb.UploadImageRequest]:
        yield pb.UploadImageRequest(metadata=pb.ImageMetadata(mime_type="image/png"))
        for start in range(0, len(data), MIB):
            yield pb.UploadImageRequest(chunk=data[start : start + MIB])

    return await jobs.UploadImage(requests(), **call)


@pytest.mark.parametrize("name", calls_beyond(job_pb2.JobSpec()))
async def test_a_call_beyond_its_bound_is_refused_with_its_path(jobs: Any, spec: job_pb2.JobSpec, name: str) -> None:
    path, call = calls_beyond(spec)[name]

    found = await refusal(call(jobs))

    assert (found.code, found.reason, found.paths) == (INVALID, "INVALID_REQUEST", [path])
    assert (await jobs.SubmitJob(pb.SubmitJobRequest(spec=spec))).job.job_id


async def test_a_message_beyond_32_mib_is_refused(jobs: Any, spec: job_pb2.JobSpec) -> None:
    spec.images[0].data = png(1, 1, padding=19 * MIB)
    largest = pb.SubmitJobsRequest(requests=[pb.SubmitJobRequest(spec=spec)])
    spec.images.add(data=png(1, 1, padding=32 * MIB - largest.ByteSize() - 150))
    request = pb.SubmitJobsRequest(requests=[pb.SubmitJobRequest(spec=spec)])
    assert 0 < 32 * MIB - request.ByteSize() < 200
    assert (await jobs.SubmitJobs(request)).jobs[0].job_id

    request.requests[0].spec.images[1].data += bytes(200)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await jobs.SubmitJobs(request)

    assert caught.value.code() is EXHAUSTED
    assert (await jobs.ListJobs(pb.ListJobsRequest(page_size=1))).jobs


async def test_metadata_beyond_its_bound_is_refused(jobs: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await jobs.ListJobs(pb.ListJobsRequest(page_size=1), metadata=(("large", "m" * 64 * 1024),))

    assert caught.value.code() is EXHAUSTED
    await jobs.ListJobs(pb.ListJobsRequest(page_size=1))


async def test_a_page_size_beyond_the_bound_is_lowered(jobs: Any, spec: job_pb2.JobSpec) -> None:
    spec.user_id = "of-many-jobs"
    spec.schedule_time.CopyFrom(in_days(1))
    request = pb.SubmitJobRequest(spec=spec)
    await jobs.SubmitJobs(pb.SubmitJobsRequest(requests=[request] * 1_000))
    await jobs.SubmitJobs(pb.SubmitJobsRequest(requests=[request] * 10))

    page = await jobs.ListJobs(pb.ListJobsRequest(user_id="of-many-jobs", page_size=100_000))

    assert len(page.jobs) == 1_000
    assert page.next_page_token


# Limits of a client, with keys.

LIMITS = {
    "SCHEDULER_CLIENT_MAX_QUEUED_JOBS": "3",
    "SCHEDULER_MAX_SUBMISSIONS": "3",
    "SCHEDULER_CLIENT_MAX_UPLOADS": "2",
    "SCHEDULER_CLIENT_MAX_CALLS": "3",
    "SCHEDULER_SLOW_PEER_SECONDS": "2",
}


@pytest.fixture(scope="module")
async def doors(start_stack: StartStack) -> AsyncIterator[Doors]:
    """Two schedulers with keys and narrow limits, and no executor: what is submitted stays in the queue."""
    async with start_stack(schedulers=2, executors=0, environment=LIMITS) as system, closed(system) as made:
        await known_everywhere(made, KeyHolder("", "none", await made.channel()), known=False)
        yield made


async def known_everywhere(doors: Doors, key: KeyHolder, *, known: bool = True) -> KeyHolder:
    """Return the key for calls to the second scheduler, when that has heard whether it works."""
    second = KeyHolder(key.key_id, key.secret, await doors.channel(doors.system.schedulers[1].address))
    async with asyncio.timeout(10):
        while True:
            try:
                await second.jobs.ListJobs(pb.ListJobsRequest(page_size=1), metadata=second.metadata)
                works = True
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                    raise
                works = False
            if works is known:
                return second


async def submit(key: KeyHolder, spec: job_pb2.JobSpec, count: int = 1) -> None:
    requests = [pb.SubmitJobRequest(spec=spec)] * count
    await key.jobs.SubmitJobs(pb.SubmitJobsRequest(requests=requests), metadata=key.metadata)


async def test_a_priority_that_the_key_does_not_allow_is_refused(doors: Doors, spec: job_pb2.JobSpec) -> None:
    key = await doors.key("of-low-priority", max_priority=2)
    spec.priority = 1

    found = await refusal(submit(key, spec))

    assert (found.code, found.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PRIORITY_NOT_ALLOWED")
    assert found.metadata == {"path": "requests[0].spec.priority", "priority": "1", "allowed": "2"}
    spec.priority = 2
    await submit(key, spec)


async def test_the_rate_of_a_client_holds_over_all_schedulers(doors: Doors, spec: job_pb2.JobSpec) -> None:
    key = await doors.key("fast", submissions_per_second=2, max_queued_jobs=1_000)
    second = await known_everywhere(doors, key)
    await submit(key, spec, 6)

    found = await refusal(submit(second, spec))

    assert (found.code, found.reason, found.metadata) == (EXHAUSTED, "RATE_LIMITED", {"per_second": "2"})
    assert found.retry_seconds is not None
    assert 0 < found.retry_seconds <= 2
    # A refusal costs nothing, so the time that was told is enough.
    await asyncio.sleep(found.retry_seconds)
    await submit(second, spec)


async def test_the_queue_of_a_client_takes_no_more_than_its_limit(doors: Doors, spec: job_pb2.JobSpec) -> None:
    key = await doors.key("deep", max_queued_jobs=5)
    second = await known_everywhere(doors, key)
    await submit(key, spec, 4)

    found = await refusal(submit(second, spec, 2))

    assert (found.code, found.reason) == (EXHAUSTED, "QUEUE_FULL")
    assert found.metadata == {"limit": "5", "queued": "4"}
    assert found.retry_seconds
    await submit(second, spec)
    listed = await key.jobs.ListJobs(pb.ListJobsRequest(), metadata=key.metadata)
    assert len(listed.jobs) == 5


async def test_a_key_that_says_nothing_has_the_limits_of_the_settings(doors: Doors, spec: job_pb2.JobSpec) -> None:
    key = await doors.key("plain")
    await submit(key, spec, 3)

    found = await refusal(submit(key, spec))

    assert (found.reason, found.metadata["limit"]) == ("QUEUE_FULL", "3")
    cancelled = await key.jobs.CancelJobs(
        pb.CancelJobsRequest(filter=pb.JobFilter(user_id=spec.user_id)), metadata=key.metadata
    )
    assert cancelled.count == 3
    await submit(key, spec)


async def test_a_client_may_have_100_watches(doors: Doors, spec: job_pb2.JobSpec) -> None:
    key = await doors.key("watcher")
    job = (await key.jobs.SubmitJob(pb.SubmitJobRequest(spec=spec), metadata=key.metadata)).job

    def watch() -> Any:
        return key.jobs.WatchJob(pb.WatchJobRequest(job_id=job.job_id), metadata=key.metadata)

    watches = [watch() for _ in range(100)]
    for each in watches:
        await each.read()

    found = await refusal(watch().read())

    assert (found.code, found.reason, found.metadata) == (EXHAUSTED, "TOO_MANY_WATCHES", {"limit": "100"})
    # It holds on each scheduler, and for each client.
    watches[0].cancel()
    await succeeding(lambda: watch().read())
    for each in watches[1:]:
        each.cancel()


class OpenUpload:
    """An upload that has begun and waits for its next chunk."""

    def __init__(self, key: KeyHolder) -> None:
        self._go_on = asyncio.Event()
        self.call = key.jobs.UploadImage(self._requests(), metadata=key.metadata)

    async def _requests(self) -> AsyncIterator[pb.UploadImageRequest]:
        yield pb.UploadImageRequest(metadata=pb.ImageMetadata(mime_type="image/png"))
        await self._go_on.wait()
        yield pb.UploadImageRequest(chunk=png(1, 1))

    async def finish(self) -> Any:
        self._go_on.set()
        return await self.call


def unsent_submission(key: KeyHolder) -> Any:
    """Return a call that has a place among the submissions, and never says what it submits."""

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    method: Any = key.channel.stream_unary("/visionjobs.v1.VisionJobService/SubmitJob")
    return method(nothing(), metadata=key.metadata)


async def test_a_scheduler_with_too_many_submissions_sheds_new_ones(doors: Doors, spec: job_pb2.JobSpec) -> None:
    other = await doors.key("other", max_queued_jobs=100)
    # One client alone leaves room for the others.
    idle = [await doors.key(f"idle-{number}") for number in range(3)]
    unsent = [unsent_submission(idle[0]) for _ in range(3)]
    await submit(other, spec)
    for each in unsent:
        each.cancel()

    unsent = [unsent_submission(key) for key in idle]
    # They come to their places one after the other.
    found = await first_refusal(lambda: submit(other, spec))

    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
    assert found.retry_seconds is not None
    assert 0.5 <= found.retry_seconds <= 1.5
    # Whoever reads or uploads is let in, and so is everybody when there is room.
    await other.jobs.ListJobs(pb.ListJobsRequest(), metadata=other.metadata)
    await upload(other.jobs, png(1, 1), metadata=other.metadata)
    for each in unsent:
        each.cancel()
    await succeeding(lambda: submit(other, spec))


async def test_a_client_may_have_so_many_uploads_and_other_calls(doors: Doors, spec: job_pb2.JobSpec) -> None:
    key = await doors.key("of-many-calls")
    uploads = [OpenUpload(key) for _ in range(2)]
    found = await refusal(OpenUpload(key).call)

    assert (found.code, found.reason, found.metadata) == (EXHAUSTED, "TOO_MANY_UPLOADS", {"limit": "2"})
    for each in uploads:
        assert (await each.finish()).image.sha256
    await upload(key.jobs, png(1, 1), metadata=key.metadata)

    unsent = [unsent_submission(key) for _ in range(3)]
    found = await refusal(unsent_submission(key))

    assert (found.code, found.reason, found.metadata) == (EXHAUSTED, "TOO_MANY_CALLS", {"limit": "3"})
    for each in unsent:
        each.cancel()
    await succeeding(lambda: submit(key, spec))


async def test_an_upload_of_which_nothing_comes_any_more_ends(doors: Doors, spec: job_pb2.JobSpec) -> None:
    key = await doors.key("stalled")

    found = await refusal(OpenUpload(key).call)

    assert (found.code, found.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "UPLOAD_STALLED")
    assert (await upload(key.jobs, png(1, 1), metadata=key.metadata)).image.sha256
    await submit(key, spec)


async def test_a_watcher_that_does_not_read_is_dropped(doors: Doors, spec: job_pb2.JobSpec) -> None:
    key = await doors.key("slow", max_queued_jobs=100)
    spec.prompt, spec.system_instruction = "p" * 262_144, "s" * 262_144
    await submit(key, spec, 50)
    request = pb.WatchJobsRequest(labels=spec.labels, view=job_pb2.JOB_VIEW_FULL)
    listed = await key.jobs.ListJobs(pb.ListJobsRequest(page_size=100), metadata=key.metadata)
    request.job_ids.extend(job.job_id for job in listed.jobs)

    watch = key.jobs.WatchJobs(request, metadata=key.metadata)
    received = 1
    await watch.read()
    # Longer than a message may wait.
    await asyncio.sleep(4)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(20):
            while await watch.read() is not grpc.aio.EOF:
                received += 1
    assert caught.value.code() is EXHAUSTED
    assert details(caught.value)[error_details_pb2.ErrorInfo].reason == "SLOW_READER"
    assert received < 50
    job = key.jobs.WatchJob(pb.WatchJobRequest(job_id=listed.jobs[0].job_id), metadata=key.metadata)
    assert (await job.read()).job.job_id == listed.jobs[0].job_id
    job.cancel()
