"""What VisionJobService answers about jobs, as values."""

import json
from collections.abc import Iterable

from google.protobuf import json_format

from visionjobs import jobs
from visionjobs.errors import UnexpectedAnswer
from visionjobs.mapping.enums import word
from visionjobs.mapping.times import time_of
from visionjobs.v1 import job_pb2


def job(message: job_pb2.Job) -> jobs.Job:
    """Return the job of an answer.

    Raises:
        UnexpectedAnswer: The job is in a state that this client does not know.
    """
    return jobs.Job(
        job_id=message.job_id,
        spec=_spec(message.spec),
        client_id=message.client_id,
        state=_state(message.state),
        stage=_stage(message.stage),
        stage_start_time=time_of(message, "stage_start_time"),
        step=message.step,
        attempt=message.attempt,
        retry_count=message.retry_count,
        create_time=time_of(message, "create_time"),
        start_time=time_of(message, "start_time"),
        finish_time=time_of(message, "finish_time"),
        next_attempt_time=time_of(message, "next_attempt_time"),
        executor_id=message.executor_id,
        trace_id=message.trace_id,
        wait=_wait(message.wait) if message.HasField("wait") else None,
        result=_result(message.result) if message.HasField("result") else None,
        error=_error(message.error) if message.HasField("error") else None,
        attempts=tuple(_attempt(attempt) for attempt in message.attempts),
        retried_from=message.retried_from,
        purged=message.purged,
        cost_usd=message.cost_usd,
    )


def image(message: job_pb2.Image) -> jobs.Image:
    """Return the image of an answer, which never carries bytes."""
    return jobs.Image(sha256=message.sha256, mime_type=message.mime_type, uri=message.uri)


def _spec(message: job_pb2.JobSpec) -> jobs.JobSpec:
    return jobs.JobSpec(
        user_id=message.user_id,
        images=tuple(image(each) for each in message.images),
        prompt=message.prompt,
        system_instruction=message.system_instruction,
        response_schema=_schema(message),
        model=message.model,
        priority=message.priority,
        timeout=message.timeout.ToTimedelta() if message.HasField("timeout") else None,
        max_retries=message.max_retries if message.HasField("max_retries") else None,
        schedule_time=time_of(message, "schedule_time"),
        expire_time=time_of(message, "expire_time"),
        labels=dict(message.labels),
        generation=_generation(message.generation),
        post_process=_post_process(message.post_process) if message.HasField("post_process") else None,
        cache=_cache(message.cache),
        fail_fast=message.fail_fast,
    )


def _post_process(message: job_pb2.PostProcess) -> jobs.PostProcess:
    return jobs.PostProcess(prompt=message.prompt, response_schema=_schema(message), model=message.model)


def _schema(message: job_pb2.JobSpec | job_pb2.PostProcess) -> str:
    if message.WhichOneof("schema") != "response_schema":
        return message.response_schema_json
    # Another client handed over a Struct, in which every number is a float; the contract makes them integers again.
    text = json_format.MessageToJson(message.response_schema, indent=None, sort_keys=True)
    return json.dumps(json.loads(text, parse_float=_number), ensure_ascii=False)


def _number(digits: str) -> float:
    number = float(digits)
    return int(number) if number.is_integer() else number


def _generation(message: job_pb2.Generation) -> jobs.Generation:
    return jobs.Generation(
        temperature=message.temperature if message.HasField("temperature") else None,
        max_output_tokens=message.max_output_tokens if message.HasField("max_output_tokens") else None,
        media_resolution=message.media_resolution,
        thinking_level=message.thinking_level,
        service_tier=message.service_tier,
    )


def _state(number: int) -> jobs.JobState:
    # The states are a closed set: to take an unknown one for another would be a lie about the job.
    name = word(job_pb2.JobState.items(), number, "JOB_STATE_")
    if name not in jobs.JobState.__members__:
        raise UnexpectedAnswer(f"The scheduler sent a job in state number {number}, which this client does not know.")
    return jobs.JobState(name)


def _cache(number: int) -> jobs.CachePolicy:
    if number == job_pb2.CACHE_POLICY_UNSPECIFIED:
        return jobs.CachePolicy.USE
    name = word(job_pb2.CachePolicy.items(), number, "CACHE_POLICY_")
    if name not in jobs.CachePolicy.__members__:
        raise UnexpectedAnswer(f"The scheduler sent cache policy number {number}, which this client does not know.")
    return jobs.CachePolicy(name)


def _stage(number: int) -> jobs.JobStage | None:
    if number == job_pb2.JOB_STAGE_UNSPECIFIED:
        return None
    name = word(job_pb2.JobStage.items(), number, "JOB_STAGE_")
    return jobs.JobStage(name) if name in jobs.JobStage.__members__ else jobs.JobStage.UNKNOWN


def _wait(message: job_pb2.Wait) -> jobs.Wait:
    name = word(job_pb2.WaitReason.items(), message.reason, "WAIT_REASON_")
    return jobs.Wait(
        reason=jobs.WaitReason(name) if name in jobs.WaitReason.__members__ else jobs.WaitReason.UNKNOWN,
        message=message.message,
        until_time=time_of(message, "until_time"),
    )


def _result(message: job_pb2.Result) -> jobs.Result:
    return jobs.Result(
        output_json=message.output_json,
        model_version=message.model_version,
        usage=usage(message.usage),
        cost_usd=message.cost_usd,
        cached=message.cached,
        stage_durations=_stage_durations(message.stage_durations),
    )


def usage(message: job_pb2.Usage) -> jobs.Usage:
    """Return the tokens of an answer."""
    return jobs.Usage(
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        thinking_tokens=message.thinking_tokens,
        cached_tokens=message.cached_tokens,
        image_tokens=message.image_tokens,
    )


def _stage_durations(messages: Iterable[job_pb2.StageDuration]) -> tuple[jobs.StageDuration, ...]:
    return tuple(
        jobs.StageDuration(stage=_stage(each.stage) or jobs.JobStage.UNKNOWN, duration=each.duration.ToTimedelta())
        for each in messages
    )


def _error(message: job_pb2.JobError) -> jobs.JobError:
    return jobs.JobError(kind=message.kind, message=message.message, retryable=message.retryable)


def _attempt(message: job_pb2.Attempt) -> jobs.Attempt:
    return jobs.Attempt(
        attempt=message.attempt,
        step=message.step,
        executor_id=message.executor_id,
        start_time=time_of(message, "start_time"),
        finish_time=time_of(message, "finish_time"),
        outcome=message.outcome,
        model=message.model,
        paid=message.paid,
        unanswered=message.unanswered,
        flaw=message.flaw,
        output_path=message.output_path,
        raw_answer=message.raw_answer,
        service_tier=message.service_tier,
        error=_error(message.error) if message.HasField("error") else None,
        usage=usage(message.usage) if message.HasField("usage") else None,
        cost_usd=message.cost_usd,
        model_version=message.model_version,
        stage_durations=_stage_durations(message.stage_durations),
    )
