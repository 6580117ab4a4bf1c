"""The messages of the Work stream between protobuf and the domain, and outcomes as they are spooled and sent."""

import datetime
from collections.abc import Iterable, Iterator
from typing import assert_never

from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.message import DecodeError

from executor.ports import Downlink, Hello, Permit, Progress, Uplink, Welcome
from executor.work import (
    Assignment,
    AttemptId,
    Failed,
    Generation,
    ImageRef,
    Outcome,
    Released,
    Succeeded,
    Throttled,
    Verdict,
)
from visionjobs.v1 import executor_service_pb2 as pb
from visionjobs.v1 import job_pb2

LOST_AFTER = datetime.timedelta(seconds=10)
"""Of schedulers that do not say it."""

MAX_OUTCOMES = 500
MAX_MESSAGE_BYTES = 1024 * 1024 - 64 * 1024
"""Messages stay under 1 MiB; only a single outcome that is larger goes beyond."""


def requests(message: Uplink) -> Iterator[pb.WorkRequest]:
    """Return the messages that carry it all: one, unless the outcomes need more."""
    request = pb.WorkRequest(
        accepted=_refs(message.accepted),
        ready=_refs(message.ready),
        progress=[_progress(progress) for progress in message.progress],
        withdrawn=_refs(message.withdrawn),
    )
    if message.hello is not None:
        request.hello.CopyFrom(_hello(message.hello))
    if message.credit is not None:
        request.credit.free_slots = message.credit.free_slots
        request.credit.assignments_received = message.credit.assignments_received
    if message.heartbeat is not None:
        request.heartbeat.number = message.heartbeat.number
        if message.heartbeat.held is not None:
            request.heartbeat.lists_held = True
            request.heartbeat.held.extend(_refs(message.heartbeat.held))
    size = request.ByteSize() if message.outcomes else 0
    for record in message.outcomes:
        if request.outcomes and (len(request.outcomes) >= MAX_OUTCOMES or size + len(record) > MAX_MESSAGE_BYTES):
            yield request
            request, size = pb.WorkRequest(), 0
        request.outcomes.add().MergeFromString(record)
        size += len(record)
    yield request


def downlink(message: pb.WorkResponse) -> Downlink:
    return Downlink(
        welcome=_welcome(message.welcome) if message.HasField("welcome") else None,
        assignments=[_assignment(assignment) for assignment in message.assignments],
        permits=[Permit(_attempt_id(permit.ref), _span(permit.validity)) for permit in message.permits],
        acknowledged=_attempt_ids(message.outcome_acks),
        cancels=_attempt_ids(message.cancels),
        withdraws=_attempt_ids(message.withdraws),
        echoed=message.heartbeat.number if message.HasField("heartbeat") else None,
        drain=message.drain.reason if message.HasField("drain") else None,
    )


class OutcomeMessages:
    """Implements ports.OutcomeCodec: a record is the message, which later versions can read too."""

    def encode(self, outcome: Outcome) -> bytes:
        message = pb.Outcome(
            ref=_ref(outcome.attempt_id),
            model_version=_text(outcome.model_version),
            paid=outcome.paid,
            traceparent=outcome.traceparent,
            finish_time=_timestamp(outcome.finish_time),
            step=outcome.step,
            steps=outcome.steps,
            service_tier=_text(outcome.service_tier),
            unanswered=outcome.unanswered,
        )
        _put_verdict(message, outcome.verdict)
        if outcome.usage is not None:
            usage = outcome.usage
            message.usage.input_tokens = usage.input_tokens
            message.usage.output_tokens = usage.output_tokens
            message.usage.thinking_tokens = usage.thinking_tokens
            message.usage.cached_tokens = usage.cached_tokens
            message.usage.image_tokens = usage.image_tokens
        for stage, seconds in outcome.stage_seconds.items():
            spent = message.stage_durations.add(stage=job_pb2.JobStage.ValueType(stage)).duration
            spent.seconds, spent.nanos = int(seconds), int(seconds % 1 * 1e9)
        return message.SerializeToString()

    def attempt_id(self, record: bytes) -> AttemptId:
        try:
            ref = pb.Outcome.FromString(record).ref
        except DecodeError as error:
            raise ValueError(f"The record is no outcome: {error}") from None
        if not ref.job_id:
            raise ValueError("The record names no attempt.")
        return _attempt_id(ref)


def _hello(hello: Hello) -> pb.Hello:
    return pb.Hello(
        executor_id=hello.executor_id,
        host=hello.host,
        version=hello.version,
        capacity=hello.capacity,
        lanes=hello.lanes,
        held=_refs(hello.held),
        dial=hello.dial,
    )


def _progress(progress: Progress) -> pb.Progress:
    return pb.Progress(
        ref=_ref(progress.attempt_id),
        stage=job_pb2.JobStage.ValueType(progress.stage),
        time=_timestamp(progress.time),
    )


def _put_verdict(message: pb.Outcome, verdict: Verdict) -> None:
    match verdict:
        case Succeeded(output_json=output_json):
            message.succeeded.output_json = output_json
        case Failed():
            error = message.failed.error
            error.kind, error.message, error.retryable = verdict.kind, _text(verdict.message), verdict.retryable
            message.failed.raw_answer = _text(verdict.raw_answer)
            message.failed.flaw = verdict.flaw
            message.failed.output_path = _text(verdict.output_path)
            message.failed.image_sha256 = verdict.image_sha256
            message.failed.schema_suspected = verdict.schema_suspected
            if verdict.retry_after is not None:
                message.failed.retry_after.FromTimedelta(verdict.retry_after)
        case Throttled(message=words, retry_after=retry_after, lane_stop=lane_stop):
            message.throttled.message = _text(words)
            message.throttled.lane_stop = _text(lane_stop)
            if retry_after is not None:
                message.throttled.retry_after.FromTimedelta(retry_after)
        case Released(message=words):
            message.released.message = _text(words)
        case _:
            assert_never(verdict)


def _welcome(message: pb.Welcome) -> Welcome:
    return Welcome(
        session=message.session,
        heartbeat_interval=_span(message.heartbeat_interval),
        lost_after=_span(message.lost_after) if message.HasField("lost_after") else LOST_AFTER,
        superseded=_attempt_ids(message.superseded),
    )


def _assignment(message: pb.Assignment) -> Assignment:
    spec = message.spec
    return Assignment(
        attempt_id=_attempt_id(message.ref),
        lane=message.lane,
        model=message.lane.partition("/")[2],
        prompt=spec.prompt,
        system_instruction=spec.system_instruction,
        schema_json=spec.response_schema_json,
        images=tuple(_image(image) for image in spec.images),
        inline_images={image.sha256: image.data for image in message.images},
        generation=_generation(spec.generation) if spec.HasField("generation") else Generation(),
        timeout=_span(message.timeout),
        traceparent=message.traceparent,
        permit_required=message.permit_required,
        start_within=_span(message.start_within) if message.HasField("start_within") else None,
        # An earlier version's scheduler says neither.
        step=message.step or 1,
        steps=message.steps or 1,
        input_json=message.input_json,
    )


def _image(message: job_pb2.Image) -> ImageRef:
    return ImageRef(sha256=message.sha256, mime_type=message.mime_type, uri=message.uri)


def _generation(message: job_pb2.Generation) -> Generation:
    return Generation(
        temperature=message.temperature if message.HasField("temperature") else None,
        max_output_tokens=message.max_output_tokens if message.HasField("max_output_tokens") else None,
        media_resolution=message.media_resolution,
        thinking_level=message.thinking_level,
        service_tier=message.service_tier,
    )


def _text(words: str) -> str:
    """Return what protobuf takes: a provider's words may hold half of a surrogate pair."""
    return words if words.isascii() else words.encode(errors="replace").decode()


def _span(duration: duration_pb2.Duration) -> datetime.timedelta:
    return datetime.timedelta(seconds=duration.seconds, microseconds=duration.nanos // 1000)


def _timestamp(time: datetime.datetime) -> timestamp_pb2.Timestamp:
    return timestamp_pb2.Timestamp(seconds=int(time.timestamp()), nanos=time.microsecond * 1000)


def _refs(attempt_ids: Iterable[AttemptId]) -> list[pb.AttemptRef]:
    return [_ref(attempt_id) for attempt_id in attempt_ids]


def _ref(attempt_id: AttemptId) -> pb.AttemptRef:
    return pb.AttemptRef(job_id=attempt_id.job_id, attempt=attempt_id.attempt)


def _attempt_ids(refs: Iterable[pb.AttemptRef]) -> list[AttemptId]:
    return [_attempt_id(ref) for ref in refs]


def _attempt_id(ref: pb.AttemptRef) -> AttemptId:
    return AttemptId(ref.job_id, ref.attempt)
