"""Jobs and specs between protobuf and the domain, both ways."""

import datetime
import json
from collections.abc import Collection, Mapping

from google.protobuf import duration_pb2, json_format, struct_pb2, timestamp_pb2

from runtime.tracing import trace_id_of
from scheduler.jobs import Attempt, Generation, ImageRef, Job, JobError, JobSpec, JobState, Result, Stage, Usage, Wait
from scheduler.validation import ImageDraft, SpecDraft
from visionjobs.v1 import job_pb2


def spec_draft(spec: job_pb2.JobSpec) -> SpecDraft:
    """Return the spec as it was sent; nothing is checked."""
    schema = spec.WhichOneof("schema")
    generation = spec.generation
    refused = {"post_process": "is not supported yet"} if spec.HasField("post_process") else {}
    times: dict[str, datetime.datetime] = {}
    for name in ("schedule_time", "expire_time"):
        try:
            if spec.HasField(name):
                times[name] = time(getattr(spec, name))
        except ValueError as error:
            refused[name] = str(error)
    return SpecDraft(
        user_id=spec.user_id,
        images=tuple(_image_draft(image) for image in spec.images),
        prompt=spec.prompt,
        system_instruction=spec.system_instruction,
        schema_json=_schema_text(spec) if schema else None,
        schema_is_struct=schema == "response_schema",
        model=spec.model,
        priority=spec.priority,
        timeout=_timedelta(spec.timeout) if spec.HasField("timeout") else None,
        max_retries=spec.max_retries if spec.HasField("max_retries") else None,
        labels=dict(spec.labels),
        generation=Generation(
            temperature=generation.temperature if generation.HasField("temperature") else None,
            max_output_tokens=generation.max_output_tokens if generation.HasField("max_output_tokens") else None,
            media_resolution=generation.media_resolution,
            thinking_level=generation.thinking_level,
            service_tier=generation.service_tier,
        ),
        cache=spec.cache,
        fail_fast=spec.fail_fast,
        schedule_time=times.get("schedule_time"),
        expire_time=times.get("expire_time"),
        refused=refused,
    )


def job_to_proto(job: Job, *, full: bool) -> job_pb2.Job:
    """Return the job in the FULL or the BASIC view."""
    message = job_header(job)
    message.spec.CopyFrom(spec_to_proto(job.spec, full=full))
    message.client_id = job.client_id
    message.step = job.step
    message.attempt = job.attempt
    message.retry_count = job.retry_count
    message.executor_id = job.executor_id
    message.trace_id = trace_id_of(job.traceparent)
    message.retried_from = job.retried_from or ""
    if job.stage is not None:
        message.stage = stage_to_proto(job.stage)
        set_time(message.stage_start_time, job.stage_start_time)
    if job.wait is not None:
        message.wait.CopyFrom(_wait_to_proto(job.wait))
    if job.result is not None:
        message.result.CopyFrom(_result_to_proto(job.result))
    if job.error is not None:
        message.error.CopyFrom(_error_to_proto(job.error))
    if full:
        message.attempts.extend(_attempt_to_proto(attempt) for attempt in job.attempts)
    return message


def job_header(job: Job) -> job_pb2.Job:
    """Return id, state and times only."""
    message = job_pb2.Job(job_id=job.job_id, state=job_pb2.JobState.ValueType(job.state))
    set_time(message.create_time, job.create_time)
    set_time(message.start_time, job.start_time)
    set_time(message.finish_time, job.finish_time)
    set_time(message.next_attempt_time, job.next_attempt_time)
    return message


def spec_to_proto(spec: JobSpec, *, full: bool) -> job_pb2.JobSpec:
    """Return the spec; without `full` lacks prompt, system instruction and schema."""
    message = job_pb2.JobSpec(
        user_id=spec.user_id,
        images=[job_pb2.Image(sha256=image.sha256, mime_type=image.mime_type) for image in spec.images],
        model=spec.model,
        priority=spec.priority,
        max_retries=spec.max_retries,
        labels=spec.labels,
        cache=job_pb2.CachePolicy.ValueType(spec.cache),
        fail_fast=spec.fail_fast,
    )
    message.timeout.FromTimedelta(spec.timeout)
    set_time(message.schedule_time, spec.schedule_time)
    set_time(message.expire_time, spec.expire_time)
    if spec.generation != Generation():
        message.generation.CopyFrom(generation_to_proto(spec.generation))
    if full:
        message.prompt = spec.prompt
        message.system_instruction = spec.system_instruction
        if spec.schema_is_struct:
            json_format.Parse(spec.schema_json, message.response_schema)
        else:
            message.response_schema_json = spec.schema_json
    return message


def image_to_proto(image: ImageRef) -> job_pb2.Image:
    return job_pb2.Image(sha256=image.sha256, mime_type=image.mime_type)


def states(values: Collection[int]) -> frozenset[JobState]:
    """Return the states. Raises ValueError for UNSPECIFIED and unknown ones."""
    return frozenset(JobState(value) for value in values)


def stage_to_proto(stage: Stage) -> job_pb2.JobStage.ValueType:
    return job_pb2.JobStage.ValueType(stage)


def usage(message: job_pb2.Usage) -> Usage:
    return Usage(
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        thinking_tokens=message.thinking_tokens,
        cached_tokens=message.cached_tokens,
        image_tokens=message.image_tokens,
    )


def _image_draft(image: job_pb2.Image) -> ImageDraft:
    source = image.WhichOneof("source")
    return ImageDraft(
        data=image.data if source == "data" else None,
        uri=image.uri if source == "uri" else None,
        sha256=image.sha256 if source == "sha256" else None,
        mime_type=image.mime_type,
    )


def _schema_text(spec: job_pb2.JobSpec) -> str:
    if spec.WhichOneof("schema") == "response_schema_json":
        return spec.response_schema_json
    # NaN and infinities are no JSON, but json.dumps writes them; the schema check refuses them as such.
    return json.dumps(_plain(spec.response_schema), sort_keys=True, ensure_ascii=False)


def _plain(struct: struct_pb2.Struct) -> object:
    return {name: _plain_value(value) for name, value in struct.fields.items()}


def _plain_value(value: struct_pb2.Value) -> object:
    """Return the value, integral numbers as integers: a Struct has only doubles, and a schema means what it says."""
    match value.WhichOneof("kind"):
        case "struct_value":
            return _plain(value.struct_value)
        case "list_value":
            return [_plain_value(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def generation_to_proto(generation: Generation) -> job_pb2.Generation:
    return job_pb2.Generation(
        temperature=generation.temperature,
        max_output_tokens=generation.max_output_tokens,
        media_resolution=generation.media_resolution,
        thinking_level=generation.thinking_level,
        service_tier=generation.service_tier,
    )


def _wait_to_proto(wait: Wait) -> job_pb2.Wait:
    message = job_pb2.Wait(reason=job_pb2.WaitReason.ValueType(wait.reason), message=wait.message)
    set_time(message.until_time, wait.until_time)
    return message


def _result_to_proto(result: Result) -> job_pb2.Result:
    return job_pb2.Result(
        output_json=result.output_json,
        model_version=result.model_version,
        usage=_usage_to_proto(result.usage),
        cost_usd=result.cost_usd,
        cached=result.cached,
        stage_durations=_durations(result.stage_seconds),
    )


def _error_to_proto(error: JobError) -> job_pb2.JobError:
    return job_pb2.JobError(kind=error.kind, message=error.message, retryable=error.retryable)


def _attempt_to_proto(attempt: Attempt) -> job_pb2.Attempt:
    message = job_pb2.Attempt(
        attempt=attempt.attempt,
        step=attempt.step,
        executor_id=attempt.executor_id,
        outcome=attempt.outcome.name,
        error=_error_to_proto(attempt.error) if attempt.error else None,
        usage=_usage_to_proto(attempt.usage) if attempt.usage else None,
        cost_usd=attempt.cost_usd,
        model_version=attempt.model_version,
        stage_durations=_durations(attempt.stage_seconds),
    )
    set_time(message.start_time, attempt.start_time)
    set_time(message.finish_time, attempt.finish_time)
    return message


def _usage_to_proto(tokens: Usage) -> job_pb2.Usage:
    return job_pb2.Usage(
        input_tokens=tokens.input_tokens,
        output_tokens=tokens.output_tokens,
        thinking_tokens=tokens.thinking_tokens,
        cached_tokens=tokens.cached_tokens,
        image_tokens=tokens.image_tokens,
    )


def _durations(seconds: Mapping[Stage, float]) -> list[job_pb2.StageDuration]:
    return [
        job_pb2.StageDuration(
            stage=stage_to_proto(stage),
            duration=duration_pb2.Duration(seconds=int(spent), nanos=int(spent % 1 * 1e9)),
        )
        for stage, spent in seconds.items()
    ]


def time(stamp: timestamp_pb2.Timestamp) -> datetime.datetime:
    """Return the time. Raises ValueError for one that no calendar has."""
    try:
        return stamp.ToDatetime(tzinfo=datetime.UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a time") from None


def _timedelta(duration: duration_pb2.Duration) -> datetime.timedelta:
    """Return the duration, rounded up; an invalid one becomes the largest, which no bound allows."""
    try:
        duration.ToJsonString()
        return datetime.timedelta(seconds=duration.seconds, microseconds=-(-duration.nanos // 1000))
    except (ValueError, OverflowError):
        return datetime.timedelta.max


def set_time(field: timestamp_pb2.Timestamp, moment: datetime.datetime | None) -> None:
    if moment is not None:
        field.FromDatetime(moment)
