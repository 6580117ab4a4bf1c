"""Jobs as the contract's messages: for both edges that show them."""

import datetime
from collections.abc import Mapping

from google.protobuf import duration_pb2, json_format, timestamp_pb2

from runtime.tracing import trace_id_of
from scheduler.jobs import (
    Attempt,
    Generation,
    ImageRef,
    Job,
    JobError,
    JobSpec,
    PostProcess,
    Result,
    Stage,
    Usage,
    Wait,
)
from visionjobs.v1 import job_pb2


def job_to_proto(job: Job, *, full: bool, attempts: bool = False, raw_answers: bool = False) -> job_pb2.Job:
    """Return the job in the FULL or the BASIC view; `attempts` adds them to the latter, `raw_answers` theirs to them."""
    message = job_header(job)
    message.spec.CopyFrom(spec_to_proto(job.spec, full=full))
    message.client_id = job.client_id
    message.step = job.step
    message.attempt = job.attempt
    message.retry_count = job.retry_count
    message.executor_id = job.executor_id
    message.trace_id = trace_id_of(job.traceparent)
    message.retried_from = job.retried_from or ""
    message.purged = job.purged
    message.cost_usd = job.cost_usd
    if job.stage is not None:
        message.stage = stage_to_proto(job.stage)
        set_time(message.stage_start_time, job.stage_start_time)
    if job.wait is not None:
        message.wait.CopyFrom(_wait_to_proto(job.wait))
    if job.result is not None:
        message.result.CopyFrom(_result_to_proto(job.result))
    if job.error is not None:
        message.error.CopyFrom(_error_to_proto(job.error))
    if full or attempts:
        message.attempts.extend(_attempt_to_proto(attempt, raw_answer=raw_answers) for attempt in job.attempts)
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
    """Return the spec; without `full` lacks prompts, system instruction, schemas, and what follows the path of a uri."""
    message = job_pb2.JobSpec(
        user_id=spec.user_id,
        images=[image_to_proto(image, full=full) for image in spec.images],
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
    if spec.post_process is not None:
        message.post_process.model = spec.post_process.model
    if full:
        message.prompt = spec.prompt
        message.system_instruction = spec.system_instruction
        _put_schema(message, spec)
        if spec.post_process is not None:
            message.post_process.prompt = spec.post_process.prompt
            _put_schema(message.post_process, spec.post_process)
    return message


def image_to_proto(image: ImageRef, *, full: bool = True) -> job_pb2.Image:
    if image.uri:
        return job_pb2.Image(uri=image.uri if full else image.shown_uri, mime_type=image.mime_type)
    return job_pb2.Image(sha256=image.sha256, mime_type=image.mime_type)


def _put_schema(message: job_pb2.JobSpec | job_pb2.PostProcess, of: JobSpec | PostProcess) -> None:
    if of.schema_is_struct:
        json_format.Parse(of.schema_json, message.response_schema)
    else:
        message.response_schema_json = of.schema_json


def stage_to_proto(stage: Stage) -> job_pb2.JobStage.ValueType:
    return job_pb2.JobStage.ValueType(stage)


def generation_to_proto(generation: Generation) -> job_pb2.Generation:
    return job_pb2.Generation(
        temperature=generation.temperature,
        max_output_tokens=generation.max_output_tokens,
        media_resolution=generation.media_resolution,
        thinking_level=generation.thinking_level,
        service_tier=generation.service_tier,
    )


def set_time(field: timestamp_pb2.Timestamp, moment: datetime.datetime | None) -> None:
    if moment is not None:
        field.FromDatetime(moment)


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


def _attempt_to_proto(attempt: Attempt, *, raw_answer: bool) -> job_pb2.Attempt:
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
        model=attempt.model,
        paid=attempt.paid,
        unanswered=attempt.unanswered,
        flaw=attempt.flaw,
        output_path=attempt.output_path,
        raw_answer=attempt.raw_answer if raw_answer else "",
        service_tier=attempt.service_tier,
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
