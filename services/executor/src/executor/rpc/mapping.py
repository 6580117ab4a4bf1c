"""The Work stream's messages between protobuf and the domain."""

from collections.abc import Iterable, Iterator, Sequence
from typing import assert_never

from executor.ports import (
    Accepted,
    Assigned,
    Cancels,
    Credit,
    Downlink,
    Drain,
    Echo,
    Heartbeat,
    Hello,
    OutcomeAcks,
    OutcomeReport,
    Progress,
    Uplink,
    Welcome,
)
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
)
from visionjobs.v1 import executor_service_pb2 as pb
from visionjobs.v1 import job_pb2

_MAX_MESSAGE_BYTES = 1024 * 1024 - 64 * 1024
_MAX_ITEMS = 500


def requests(items: Sequence[Uplink]) -> Iterator[pb.WorkRequest]:
    """Return the messages that carry the items, each under 1 MiB but for a single outcome that is larger."""
    message, size, count = pb.WorkRequest(), 0, 0
    for item in _without_past(items):
        cost = len(item.payload) + 16 if isinstance(item, OutcomeReport) else 64
        if count >= _MAX_ITEMS or (size and size + cost > _MAX_MESSAGE_BYTES):
            yield message
            message, size, count = pb.WorkRequest(), 0, 0
        size, count = size + cost, count + 1
        _put(message, item)
    if count:
        yield message


def downlinks(message: pb.WorkResponse) -> list[Downlink]:
    """Return what a message says, in the order of its fields."""
    items: list[Downlink] = []
    if message.HasField("welcome"):
        items.append(
            Welcome(
                session=message.welcome.session,
                heartbeat_seconds=message.welcome.heartbeat_interval.ToTimedelta().total_seconds(),
                superseded=_attempts(message.welcome.superseded),
            )
        )
    items += [Assigned(_assignment(assignment)) for assignment in message.assignments]
    if message.outcome_acks:
        items.append(OutcomeAcks(_attempts(message.outcome_acks)))
    if message.cancels:
        items.append(Cancels(_attempts(message.cancels)))
    if message.HasField("heartbeat"):
        items.append(Echo(message.heartbeat.number))
    if message.HasField("drain"):
        items.append(Drain(message.drain.reason))
    return items


def outcome_record(outcome: Outcome) -> bytes:
    """Return an outcome as it is spooled and sent."""
    message = pb.Outcome(
        ref=_ref(outcome.attempt_id),
        model_version=_text(outcome.model_version),
        paid=outcome.paid,
        traceparent=outcome.traceparent,
    )
    _put_verdict(message, outcome)
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
    message.finish_time.FromDatetime(outcome.finish_time)
    return message.SerializeToString()


def _without_past(items: Sequence[Uplink]) -> list[Uplink]:
    """Return the items without stages that a later one of the same attempt has overtaken before they were sent."""
    latest = {item.attempt_id: item for item in items if isinstance(item, Progress)}
    return [item for item in items if not isinstance(item, Progress) or latest[item.attempt_id] is item]


def _put(message: pb.WorkRequest, item: Uplink) -> None:
    match item:
        case OutcomeReport(payload=payload):
            message.outcomes.add().MergeFromString(payload)
        case Accepted(attempt_id=attempt):
            message.accepted.append(_ref(attempt))
        case Progress(attempt_id=attempt, stage=stage):
            message.progress.add(ref=_ref(attempt), stage=job_pb2.JobStage.ValueType(stage))
        case Credit(free_slots=free, assignments_received=received):
            # The latest credit of a message is the one that counts.
            message.credit.free_slots, message.credit.assignments_received = free, received
        case Heartbeat(number=number, held=held):
            message.heartbeat.number = number
            if held is not None:
                message.heartbeat.lists_held = True
                message.heartbeat.held.extend(_ref(attempt) for attempt in held)
        case Hello():
            hello = message.hello
            hello.executor_id, hello.host, hello.version = item.executor_id, item.host, item.version
            hello.capacity = item.capacity
            hello.lanes.extend(item.lanes)
            hello.held.extend(_ref(attempt) for attempt in item.held)
        case _:
            assert_never(item)


def _put_verdict(message: pb.Outcome, outcome: Outcome) -> None:
    match outcome.verdict:
        case Succeeded(output_json=output):
            message.succeeded.output_json = output
        case Failed() as failed:
            error = message.failed.error
            error.kind, error.message, error.retryable = failed.kind, _text(failed.message), failed.retryable
            message.failed.raw_answer = _text(failed.raw_answer)
            if failed.retry_after_seconds is not None:
                message.failed.retry_after.FromNanoseconds(int(failed.retry_after_seconds * 1e9))
        case Throttled(message=words, retry_after_seconds=seconds):
            message.throttled.message = _text(words)
            if seconds is not None:
                message.throttled.retry_after.FromNanoseconds(int(seconds * 1e9))
        case Released(message=words):
            message.released.message = _text(words)
        case _:
            assert_never(outcome.verdict)


def _assignment(message: pb.Assignment) -> Assignment:
    spec = message.spec
    generation = spec.generation
    return Assignment(
        attempt_id=AttemptId(message.ref.job_id, message.ref.attempt),
        model=message.lane.partition("/")[2],
        images=[ImageRef(image.sha256, image.mime_type) for image in spec.images],
        inline_images={image.sha256: image.data for image in message.images},
        prompt=spec.prompt,
        system_instruction=spec.system_instruction,
        schema_json=spec.response_schema_json,
        generation=Generation(
            temperature=generation.temperature if generation.HasField("temperature") else None,
            max_output_tokens=generation.max_output_tokens if generation.HasField("max_output_tokens") else None,
            media_resolution=generation.media_resolution,
            thinking_level=generation.thinking_level,
            service_tier=generation.service_tier,
        ),
        timeout_seconds=message.timeout.seconds + message.timeout.nanos / 1e9,
        traceparent=message.traceparent,
    )


def _attempts(refs: Iterable[pb.AttemptRef]) -> Sequence[AttemptId]:
    return [AttemptId(ref.job_id, ref.attempt) for ref in refs]


def _ref(attempt: AttemptId) -> pb.AttemptRef:
    return pb.AttemptRef(job_id=attempt.job_id, attempt=attempt.attempt)


def _text(words: str) -> str:
    """Return what protobuf can carry: a provider's words may contain half a surrogate pair."""
    return words.encode(errors="replace").decode()
