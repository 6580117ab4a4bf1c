"""What a caller asks of VisionJobService, as messages."""

import json
from collections.abc import Iterable, Iterator, Mapping

from visionjobs import jobs
from visionjobs.job_filter import JobFilter
from visionjobs.mapping.times import duration_message, time_message
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
        states=_states(states),
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


def retry_request(job_id: str, request_id: str) -> service_pb2.RetryJobRequest:
    """Return the request that does one job again."""
    return service_pb2.RetryJobRequest(job_id=job_id, request_id=request_id)


def cancel_request(job_id: str) -> service_pb2.CancelJobRequest:
    """Return the request that stops one job."""
    return service_pb2.CancelJobRequest(job_id=job_id)


def cancel_many_request(job_filter: JobFilter, *, dry_run: bool) -> service_pb2.CancelJobsRequest:
    """Return the request that stops, or counts, the jobs that match."""
    return service_pb2.CancelJobsRequest(filter=_filter_message(job_filter), dry_run=dry_run)


def retry_many_request(job_filter: JobFilter, *, dry_run: bool) -> service_pb2.RetryJobsRequest:
    """Return the request that does the jobs that match again, or counts them."""
    return service_pb2.RetryJobsRequest(filter=_filter_message(job_filter), dry_run=dry_run)


def _filter_message(job_filter: JobFilter) -> service_pb2.JobFilter:
    return service_pb2.JobFilter(
        user_id=job_filter.user_id,
        states=_states(job_filter.states),
        labels=job_filter.labels,
        lane=job_filter.lane,
        from_time=time_message(job_filter.from_time),
        to_time=time_message(job_filter.to_time),
    )


def _states(states: Iterable[jobs.JobState]) -> list[job_pb2.JobState.ValueType]:
    return [job_pb2.JobState.Value(f"JOB_STATE_{state}") for state in states]


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
        timeout=duration_message(spec.timeout),
        max_retries=spec.max_retries,
        schedule_time=time_message(spec.schedule_time),
        expire_time=time_message(spec.expire_time),
        labels=spec.labels,
        generation=_generation_message(spec.generation),
        post_process=_post_process_message(spec.post_process) if spec.post_process is not None else None,
        cache=job_pb2.CachePolicy.Value(f"CACHE_POLICY_{spec.cache}"),
        fail_fast=spec.fail_fast,
    )


def _post_process_message(step: jobs.PostProcess) -> job_pb2.PostProcess:
    return job_pb2.PostProcess(
        model=step.model, prompt=step.prompt, response_schema_json=_schema_text(step.response_schema)
    )


def _schema_text(schema: Mapping[str, object] | str) -> str:
    # Text, never a Struct: a Struct would lose the order of the properties, which the model follows.
    return schema if isinstance(schema, str) else json.dumps(schema, ensure_ascii=False)


def _image_message(image: jobs.Image) -> job_pb2.Image:
    if image.data is not None:
        return job_pb2.Image(data=image.data, mime_type=image.mime_type)
    if image.uri:
        return job_pb2.Image(uri=image.uri, mime_type=image.mime_type)
    return job_pb2.Image(sha256=image.sha256, mime_type=image.mime_type)


def _generation_message(generation: jobs.Generation) -> job_pb2.Generation:
    return job_pb2.Generation(
        temperature=generation.temperature,
        max_output_tokens=generation.max_output_tokens,
        media_resolution=generation.media_resolution,
        thinking_level=generation.thinking_level,
        service_tier=generation.service_tier,
    )
