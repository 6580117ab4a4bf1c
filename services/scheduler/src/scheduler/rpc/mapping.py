"""Specs and filters from protobuf to the domain."""

import datetime
import json
from collections.abc import Collection

from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2

from scheduler.drafts import ImageDraft, PostProcessDraft, SpecDraft
from scheduler.jobs import Generation, JobState, Usage
from visionjobs.v1 import job_pb2

_MOST_TOKENS = 1_000_000_000
"""Of one call: beyond any, and sums of those of billions of calls still fit into 64 bits."""


def spec_draft(spec: job_pb2.JobSpec) -> SpecDraft:
    """Return the spec as it was sent; nothing is checked."""
    generation = spec.generation
    refused: dict[str, str] = {}
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
        schema_json=_schema_text(spec),
        schema_is_struct=_is_struct(spec),
        model=spec.model,
        priority=spec.priority,
        timeout=duration(spec.timeout) if spec.HasField("timeout") else None,
        max_retries=spec.max_retries if spec.HasField("max_retries") else None,
        labels=dict(spec.labels),
        generation=Generation(
            temperature=generation.temperature if generation.HasField("temperature") else None,
            max_output_tokens=generation.max_output_tokens if generation.HasField("max_output_tokens") else None,
            media_resolution=generation.media_resolution,
            thinking_level=generation.thinking_level,
            service_tier=generation.service_tier,
        ),
        post_process=_post_process_draft(spec.post_process) if spec.HasField("post_process") else None,
        cache=spec.cache,
        fail_fast=spec.fail_fast,
        schedule_time=times.get("schedule_time"),
        expire_time=times.get("expire_time"),
        refused=refused,
    )


def states(values: Collection[int]) -> frozenset[JobState]:
    """Return the states. Raises ValueError for UNSPECIFIED and unknown ones."""
    return frozenset(JobState(value) for value in values)


def usage(message: job_pb2.Usage) -> Usage:
    """Return the tokens of one call. What no call can have used counts as nothing: it would be summed up with others'."""
    return Usage(
        input_tokens=_count(message.input_tokens),
        output_tokens=_count(message.output_tokens),
        thinking_tokens=_count(message.thinking_tokens),
        cached_tokens=_count(message.cached_tokens),
        image_tokens=_count(message.image_tokens),
    )


def _count(tokens: int) -> int:
    return tokens if 0 <= tokens <= _MOST_TOKENS else 0


def _image_draft(image: job_pb2.Image) -> ImageDraft:
    source = image.WhichOneof("source")
    return ImageDraft(
        data=image.data if source == "data" else None,
        uri=image.uri if source == "uri" else None,
        sha256=image.sha256 if source == "sha256" else None,
        mime_type=image.mime_type,
    )


def _post_process_draft(message: job_pb2.PostProcess) -> PostProcessDraft:
    return PostProcessDraft(
        model=message.model,
        prompt=message.prompt,
        schema_json=_schema_text(message),
        schema_is_struct=_is_struct(message),
    )


def _is_struct(message: job_pb2.JobSpec | job_pb2.PostProcess) -> bool:
    return message.WhichOneof("schema") == "response_schema"


def _schema_text(message: job_pb2.JobSpec | job_pb2.PostProcess) -> str | None:
    match message.WhichOneof("schema"):
        case None:
            return None
        case "response_schema_json":
            return message.response_schema_json
    # NaN and infinities are no JSON, but json.dumps writes them; the schema check refuses them as such.
    return json.dumps(_plain(message.response_schema), sort_keys=True, ensure_ascii=False)


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


def time(stamp: timestamp_pb2.Timestamp) -> datetime.datetime:
    """Return the time. Raises ValueError for one that no calendar has."""
    try:
        return stamp.ToDatetime(tzinfo=datetime.UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a time") from None


def duration(message: duration_pb2.Duration) -> datetime.timedelta:
    """Return the duration, rounded up; an invalid one becomes the largest, which no bound allows."""
    try:
        message.ToJsonString()
        return datetime.timedelta(seconds=message.seconds, microseconds=-(-message.nanos // 1000))
    except (ValueError, OverflowError):
        return datetime.timedelta.max
