"""The Work stream's messages between protobuf and the domain."""

import datetime
import re
from collections.abc import Iterable, Iterator
from typing import assert_never

from google.protobuf import duration_pb2

from scheduler import wire
from scheduler.errors import ProtocolViolation
from scheduler.fleet import (
    Assignment,
    Credit,
    Downlink,
    Heartbeat,
    HeartbeatEcho,
    OutcomeAck,
    Permit,
    Progress,
    Stop,
    Uplink,
    Welcome,
    Withdraw,
)
from scheduler.job_ids import normalised
from scheduler.jobs import Generation, JobError, JobSpec, Stage
from scheduler.outcomes import Failed, Outcome, Released, Succeeded, Throttled, Verdict
from scheduler.records import AttemptId, ExecutorInfo
from scheduler.rpc import mapping
from visionjobs.v1 import executor_service_pb2 as pb
from visionjobs.v1 import job_pb2

_MAX_MESSAGE_BYTES = 1024 * 1024 - 64 * 1024
"""Messages stay under 1 MiB; an assignment is counted by its images and texts, the rest is small."""

_MAX_NAME = 128
_MAX_WORD = 128
_MAX_MESSAGE = 4_096
_MAX_PATH = 1_024
_MAX_RAW_ANSWER = 64 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LANE = re.compile(r"[\w.-]+/(\*|[\w.-]+)", re.ASCII)
_MAX_SECONDS = 30 * 86_400.0
_MOST_STEPS = 32_767
"""What the database has room for."""


def hello(message: pb.Hello, *, client_id: str) -> tuple[ExecutorInfo, list[AttemptId]]:
    """Return who dials, with a key of which client, and what it holds. Raises ProtocolViolation."""
    if not 0 < len(message.executor_id) <= _MAX_NAME or "\x00" in message.executor_id:
        raise ProtocolViolation("hello.executor_id must have 1 to 128 characters.")
    if message.capacity < 1 or not message.lanes:
        raise ProtocolViolation("hello must name a capacity of at least 1, and a lane.")
    if not all(_LANE.fullmatch(lane) for lane in message.lanes):
        raise ProtocolViolation("Each lane must be provider/model or provider/*.")
    info = ExecutorInfo(
        executor_id=message.executor_id,
        host=_text(message.host)[:_MAX_NAME],
        version=_text(message.version)[:_MAX_NAME],
        capacity=message.capacity,
        lanes=tuple(message.lanes),
        dial=message.dial,
        client_id=client_id,
    )
    return info, _attempt_ids(message.held)


def uplink(message: pb.WorkRequest) -> Uplink:
    """Return an executor's message. Raises ProtocolViolation."""
    return Uplink(
        credit=Credit(max(0, message.credit.free_slots), message.credit.assignments_received)
        if message.HasField("credit")
        else None,
        accepted=_attempt_ids(message.accepted),
        ready=_attempt_ids(message.ready),
        progress=[_progress(progress) for progress in message.progress if _is_stage(progress.stage)],
        outcomes=[_outcome(outcome) for outcome in message.outcomes],
        withdrawn=_attempt_ids(message.withdrawn),
        heartbeat=_heartbeat(message.heartbeat) if message.HasField("heartbeat") else None,
    )


def downlinks(items: Iterable[Downlink]) -> Iterator[pb.WorkResponse]:
    """Return the messages that carry the items, in their order of kinds, each under 1 MiB."""
    message, size = pb.WorkResponse(), 0
    for item in items:
        cost = _size(item)
        if size and size + cost > _MAX_MESSAGE_BYTES:
            yield message
            message, size = pb.WorkResponse(), 0
        size += cost
        _put(message, item)
    if size:
        yield message


def _put(message: pb.WorkResponse, item: Downlink) -> None:
    match item:
        case Assignment():
            message.assignments.append(_assignment(item))
        case OutcomeAck(attempt_id=attempt):
            message.outcome_acks.append(_ref(attempt))
        case HeartbeatEcho(number=number):
            message.heartbeat.number = number
        case Permit(attempt_id=attempt, validity=validity):
            message.permits.add(ref=_ref(attempt)).validity.FromTimedelta(validity)
        case Stop(attempt_id=attempt):
            message.cancels.append(_ref(attempt))
        case Withdraw(attempt_id=attempt):
            message.withdraws.append(_ref(attempt))
        case Welcome():
            message.welcome.session = item.session
            message.welcome.heartbeat_interval.FromTimedelta(item.heartbeat_interval)
            message.welcome.lost_after.FromTimedelta(item.lost_after)
            message.welcome.superseded.extend(_ref(attempt) for attempt in item.superseded)
        case _:
            assert_never(item)


def attempt_id(ref: pb.AttemptRef) -> AttemptId:
    """Return the attempt. Raises ProtocolViolation."""
    job_id = normalised(ref.job_id)
    if job_id is None or ref.attempt < 1:
        raise ProtocolViolation("An attempt needs a job id and a number from 1.")
    return AttemptId(job_id, ref.attempt)


def _attempt_ids(refs: Iterable[pb.AttemptRef]) -> list[AttemptId]:
    return [attempt_id(ref) for ref in refs]


def _heartbeat(message: pb.Heartbeat) -> Heartbeat:
    return Heartbeat(number=message.number, held=_attempt_ids(message.held) if message.lists_held else None)


def _ref(attempt: AttemptId) -> pb.AttemptRef:
    return pb.AttemptRef(job_id=attempt.job_id, attempt=attempt.attempt)


def _size(item: Downlink) -> int:
    if isinstance(item, Assignment):
        spec = item.spec
        texts = len(spec.prompt) + len(spec.system_instruction) + len(spec.schema_json) + len(item.input_json)
        texts += sum(len(image.uri) for image in spec.images)
        # A character may take four bytes.
        return 1024 + 4 * texts + sum(map(len, item.images.values()))
    return 64


def _assignment(assignment: Assignment) -> pb.Assignment:
    job = assignment.job
    message = pb.Assignment(
        ref=_ref(job.attempt_id),
        step=job.step,
        steps=assignment.steps,
        lane=job.lane,
        spec=_work_spec(assignment.spec),
        input_json=assignment.input_json,
        images=[pb.InlineImage(sha256=sha256, data=data) for sha256, data in assignment.images.items()],
        traceparent=assignment.traceparent,
        permit_required=job.permit_required,
    )
    message.timeout.FromTimedelta(assignment.spec.timeout)
    if assignment.start_within is not None:
        message.start_within.FromTimedelta(max(assignment.start_within, datetime.timedelta()))
    return message


def _work_spec(spec: JobSpec) -> job_pb2.JobSpec:
    """Return what the executor needs of a step's spec; the schema always as text, which it would have to make of a Struct."""
    message = job_pb2.JobSpec(
        images=[wire.image_to_proto(image) for image in spec.images],
        prompt=spec.prompt,
        system_instruction=spec.system_instruction,
        response_schema_json=spec.schema_json,
    )
    if spec.generation != Generation():
        message.generation.CopyFrom(wire.generation_to_proto(spec.generation))
    return message


def _progress(message: pb.Progress) -> Progress:
    return Progress(attempt_id(message.ref), Stage(message.stage))


def _is_stage(value: int) -> bool:
    """Say whether this version knows the stage; a newer executor may have more."""
    return value in Stage._value2member_map_


def _outcome(message: pb.Outcome) -> Outcome:
    """Return what an executor says of an attempt.

    What cannot be read is a failure of this attempt alone: to end the stream for it would bring it again for ever.
    """
    return Outcome(
        attempt_id=attempt_id(message.ref),
        verdict=_verdict(message),
        usage=mapping.usage(message.usage) if message.HasField("usage") else None,
        model_version=_text(message.model_version)[:_MAX_WORD],
        stage_seconds={
            Stage(item.stage): _seconds(item.duration) for item in message.stage_durations if _is_stage(item.stage)
        },
        paid=message.paid,
        traceparent=message.traceparent,
        # An earlier version's executor says neither.
        step=_step(message.step),
        steps=_step(message.steps),
        service_tier=_text(message.service_tier)[:_MAX_WORD],
        unanswered=message.unanswered,
    )


def _verdict(message: pb.Outcome) -> Verdict:
    match message.WhichOneof("verdict"):
        case "succeeded" if not message.succeeded.output_json:
            return Failed(JobError(kind="INVALID_OUTPUT", message="The success has no output.", retryable=True))
        case "succeeded":
            return Succeeded(_text(message.succeeded.output_json))
        case "failed":
            failed = message.failed
            return Failed(
                error=_error(failed.error),
                raw_answer=_text(failed.raw_answer[:_MAX_RAW_ANSWER]),
                retry_after=_wait_time(failed.retry_after) if failed.HasField("retry_after") else None,
                flaw=_text(failed.flaw)[:_MAX_WORD],
                output_path=_text(failed.output_path)[:_MAX_PATH],
                image_sha256=failed.image_sha256 if _SHA256.fullmatch(failed.image_sha256) else "",
                schema_suspected=failed.schema_suspected,
            )
        case "throttled":
            throttled = message.throttled
            after = _wait_time(throttled.retry_after) if throttled.HasField("retry_after") else None
            return Throttled(
                message=_words(throttled.message), retry_after=after, lane_stop=_words(throttled.lane_stop)
            )
        case "released":
            return Released(message=_words(message.released.message))
        case _:
            words = "The executor's outcome has no verdict that this scheduler knows."
            return Failed(JobError(kind="INTERNAL", message=words, retryable=True))


def _wait_time(duration: duration_pb2.Duration) -> datetime.timedelta:
    """Return a wait; what is longer than any provider means, or negative, is cut."""
    return datetime.timedelta(seconds=_seconds(duration))


def _seconds(duration: duration_pb2.Duration) -> float:
    """Return what is within the bounds of any wait or stage: what is not could not be told to clients."""
    return min(max(0.0, duration.seconds + duration.nanos / 1e9), _MAX_SECONDS)


def _step(told: int) -> int:
    return min(max(1, told), _MOST_STEPS)


def _error(message: job_pb2.JobError) -> JobError:
    return JobError(
        kind=_text(message.kind)[:_MAX_WORD] or "UNKNOWN",
        message=_words(message.message),
        retryable=message.retryable,
    )


def _words(message: str) -> str:
    return _text(message[:_MAX_MESSAGE])


def _text(text: str) -> str:
    """Return what Postgres can store: a provider's words may contain NUL."""
    return text.replace("\x00", "�")
