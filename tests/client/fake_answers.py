"""What the scheduler of the client's tests can be told to answer."""

import datetime
from typing import Any

from google.protobuf import any_pb2, duration_pb2, timestamp_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from visionjobs.v1 import admin_service_pb2, job_pb2


def failure(
    code: str,
    message: str = "",
    *,
    reason: str = "",
    violations: dict[str, str] | None = None,
    retry_after: datetime.timedelta | None = None,
) -> status_pb2.Status:
    details: list[Message] = []
    if reason:
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain="visionjobs", metadata={"job_id": "x"}))
    if violations:
        bad = error_details_pb2.BadRequest()
        for path, description in violations.items():
            bad.field_violations.add(field=path, description=description)
        details.append(bad)
    if retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromTimedelta(retry_after)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def job_message(job_id: str, state: str = "QUEUED", **fields: Any) -> job_pb2.Job:
    return job_pb2.Job(job_id=job_id, state=job_pb2.JobState.Value(f"JOB_STATE_{state}"), **fields)


def succeeded(job_id: str, output_json: str = '{"total": 4.5}', model: str = "gemini-3.8-flash") -> job_pb2.Job:
    result = job_pb2.Result(
        output_json=output_json,
        model_version=model,
        usage=job_pb2.Usage(input_tokens=1100, output_tokens=50),
        cost_usd=0.0012,
    )
    return job_message(job_id, "SUCCEEDED", result=result)


def key_message(key_id: str, **fields: Any) -> admin_service_pb2.Key:
    defaults: dict[str, Any] = {
        "client_id": "billing",
        "role": admin_service_pb2.ROLE_CLIENT,
        "create_time": timestamp_pb2.Timestamp(seconds=1_800_000_000),
    }
    return admin_service_pb2.Key(key_id=key_id, **(defaults | fields))


def lane_message(lane: str, **fields: Any) -> admin_service_pb2.Lane:
    return admin_service_pb2.Lane(lane=lane, **({"breaker_state": admin_service_pb2.BREAKER_STATE_CLOSED} | fields))
