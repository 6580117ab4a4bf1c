"""Values to messages and back. The only module that knows what the messages look like."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from visionjobs import jobs
from visionjobs.errors import UnexpectedAnswer
from visionjobs.v1 import job_pb2
from visionjobs.v1 import vision_job_service_pb2 as service_pb2

UPLOAD_CHUNK_BYTES = 256 * 1024


def submit_request(spec: jobs.JobSpec, request_id: str) -> service_pb2.SubmitJobRequest:
    """Return the request that submits one job."""
    return service_pb2.SubmitJobRequest(spec=_spec_message(spec), request_id=request_id)


def submit_many_request(specs: Iterable[jobs.JobSpec], request_ids: Iterable[str]) -> service_pb2.SubmitJobsRequest:
    """Return the request that submits these jobs, each under the id that stands at its place."""
    pairs = zip(specs, request_ids, strict=True)
    return service_pb2.SubmitJobsRequest(requests=[submit_request(spec, request_id) for spec, request_id in pairs])


def upload_requests(data: bytes, mime_type: str) -> Iterator[service_pb2.UploadImageRequest]:
    """Return the messages of an upload: what it is, then its bytes."""
    yield service_pb2.UploadImageRequest(metadata=service_pb2.ImageMetadata(mime_type=mime_type))
    for start in range(0, len(data), UPLOAD_CHUNK_BYTES):
        yield service_pb2.UploadImageRequest(chunk=data[start : start + UPLOAD_CHUNK_BYTES])


def get_request(job_id: str, view: jobs.JobView) -> service_pb2.GetJobRequest:
    """Return the request for one job."""
    return service_pb2.GetJobRequest(job_id=job_id, view=_view(view))


def batch_get_request(job_ids: Iterable[str], view: jobs.JobView) -> service_pb2.BatchGetJobsRequest:
    """Return the request for these jobs."""
    return service_pb2.BatchGetJobsRequest(job_ids=job_ids, view=_view(view))


def list_request(
    *,
    user_id: str,
    states: Iterable[jobs.JobState],
    labels: Mapping[str, str],
    page_size: int,
    page_token: str,
    view: jobs.JobView,
) -> service_pb2.ListJobsRequest:
    """Return the request for one page."""
    return service_pb2.ListJobsRequest(
        user_id=user_id,
        states=[job_pb2.JobState.Value(f"JOB_STATE_{state}") for state in states],
        labels=labels,
        page_size=page_size,
        page_token=page_token,
        view=_view(view),
    )


def watch_request(job_id: str, view: jobs.JobView) -> service_pb2.WatchJobRequest:
    """Return the request that follows one job."""
    return service_pb2.WatchJobRequest(job_id=job_id, view=_view(view))


def watch_many_request(
    job_ids: Iterable[str], labels: Mapping[str, str], view: jobs.JobView
) -> service_pb2.WatchJobsRequest:
    """Return the request that follows many jobs."""
    return service_pb2.WatchJobsRequest(job_ids=job_ids, labels=labels, view=_view(view))


def _view(view: jobs.JobView) -> job_pb2.JobView.ValueType:
    return job_pb2.JobView.Value(f"JOB_VIEW_{view}")


def _spec_message(spec: jobs.JobSpec) -> job_pb2.JobSpec:
    return job_pb2.JobSpec(
        user_id=spec.user_id,
        images=[_image_message(image) for image in spec.images],
        prompt=spec.prompt,
        system_instruction=spec.system_instruction,
        response_schema_json=_schema_text(spec.response_schema),
        model=spec.model,
        priority=spec.priority,
        timeout=_duration_message(spec.timeout),
        max_retries=spec.max_retries,
        labels=spec.labels,
        generation=_generation_message(spec.generation),
        cache=job_pb2.CachePolicy.Value(f"CACHE_POLICY_{spec.cache}"),
        fail_fast=spec.fail_fast,
    )


def _schema_text(schema: Mapping[str, object] | str) -> str:
    # Text, never a Struct: a Struct would lose the order of the properties, which the model follows.
    return schema if isinstance(schema, str) else json.dumps(schema, ensure_ascii=False)


def _image_message(image: jobs.Image) -> job_pb2.Image:
    if image.data is not None:
        return job_pb2.Image(data=image.data, mime_type=image.mime_type)
    return job_pb2.Image(sha256=image.sha256, mime_type=image.mime_type)


def _generation_message(generation: jobs.Generation) -> job_pb2.Generation:
    return job_pb2.Generation(
        temperature=generation.temperature,
        max_output_tokens=generation.max_output_tokens,
        media_resolution=generation.media_resolution,
        thinking_level=generation.thinking_level,
        service_tier=generation.service_tier,
    )


def _duration_message(span: timedelta | None) -> Duration | None:
    if span is None:
        return None
    message = Duration()
    message.FromTimedelta(span)
    return message


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
        stage_start_time=_time(message, "stage_start_time"),
        step=message.step,
        attempt=message.attempt,
        retry_count=message.retry_count,
        create_time=_time(message, "create_time"),
        start_time=_time(message, "start_time"),
        finish_time=_time(message, "finish_time"),
        next_attempt_time=_time(message, "next_attempt_time"),
        executor_id=message.executor_id,
        trace_id=message.trace_id,
        wait=_wait(message.wait) if message.HasField("wait") else None,
        result=_result(message.result) if message.HasField("result") else None,
        error=_error(message.error) if message.HasField("error") else None,
        attempts=tuple(_attempt(attempt) for attempt in message.attempts),
    )


def image(message: job_pb2.Image) -> jobs.Image:
    """Return the image of an answer, which never carries bytes."""
    return jobs.Image(sha256=message.sha256, mime_type=message.mime_type)


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
        labels=dict(message.labels),
        generation=_generation(message.generation),
        cache=_cache(message.cache),
        fail_fast=message.fail_fast,
    )


def _schema(message: job_pb2.JobSpec) -> str:
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
    word = _word(job_pb2.JobState.items(), number, "JOB_STATE_")
    if word not in jobs.JobState.__members__:
        raise UnexpectedAnswer(f"The scheduler sent a job in state number {number}, which this client does not know.")
    return jobs.JobState(word)


def _cache(number: int) -> jobs.CachePolicy:
    if number == job_pb2.CACHE_POLICY_UNSPECIFIED:
        return jobs.CachePolicy.USE
    word = _word(job_pb2.CachePolicy.items(), number, "CACHE_POLICY_")
    if word not in jobs.CachePolicy.__members__:
        raise UnexpectedAnswer(f"The scheduler sent cache policy number {number}, which this client does not know.")
    return jobs.CachePolicy(word)


def _stage(number: int) -> jobs.JobStage | None:
    if number == job_pb2.JOB_STAGE_UNSPECIFIED:
        return None
    word = _word(job_pb2.JobStage.items(), number, "JOB_STAGE_")
    return jobs.JobStage(word) if word in jobs.JobStage.__members__ else jobs.JobStage.UNKNOWN


def _wait(message: job_pb2.Wait) -> jobs.Wait:
    word = _word(job_pb2.WaitReason.items(), message.reason, "WAIT_REASON_")
    return jobs.Wait(
        reason=jobs.WaitReason(word) if word in jobs.WaitReason.__members__ else jobs.WaitReason.UNKNOWN,
        message=message.message,
        until_time=_time(message, "until_time"),
    )


def _word(values: Iterable[tuple[str, int]], number: int, prefix: str) -> str:
    """Return the name of an enum's value without the prefix, empty for a number that a newer scheduler made up."""
    return next((name.removeprefix(prefix) for name, value in values if value == number), "")


def _result(message: job_pb2.Result) -> jobs.Result:
    return jobs.Result(
        output_json=message.output_json,
        model_version=message.model_version,
        usage=_usage(message.usage),
        cost_usd=message.cost_usd,
        cached=message.cached,
        stage_durations=_stage_durations(message.stage_durations),
    )


def _usage(message: job_pb2.Usage) -> jobs.Usage:
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
        start_time=_time(message, "start_time"),
        finish_time=_time(message, "finish_time"),
        outcome=message.outcome,
        error=_error(message.error) if message.HasField("error") else None,
        usage=_usage(message.usage) if message.HasField("usage") else None,
        cost_usd=message.cost_usd,
        model_version=message.model_version,
        stage_durations=_stage_durations(message.stage_durations),
    )


def _time(message: job_pb2.Job | job_pb2.Attempt | job_pb2.Wait, name: str) -> datetime | None:
    if not message.HasField(name):  # type: ignore[arg-type]  # the stubs list the names, which differ by message
        return None
    timestamp: Timestamp = getattr(message, name)
    return timestamp.ToDatetime(tzinfo=UTC)
