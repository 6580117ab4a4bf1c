"""The client of visionjobs: hand over images, a prompt and a JSON schema, get schema-valid JSON.

    with visionjobs.Client() as client:
        result = client.submit_and_wait(
            visionjobs.JobSpec(
                user_id="u-17",
                images=[visionjobs.Image.from_file("receipt.jpg")],
                prompt="Read the receipt.",
                response_schema={"type": "object", "properties": {"total": {"type": "number"}}},
            )
        )
        print(result.output["total"])

`AsyncClient` is the same for asyncio. Both read VISIONJOBS_ADDRESS and VISIONJOBS_API_KEY or VISIONJOBS_API_KEY_FILE,
and call by TLS with VISIONJOBS_TLS=true.
"""

from visionjobs.alerts import Alert
from visionjobs.client import AsyncClient
from visionjobs.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    JobFailed,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    RpcError,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Violation,
    VisionJobsError,
)
from visionjobs.job_filter import JobFilter
from visionjobs.jobs import (
    Attempt,
    CachePolicy,
    Generation,
    Image,
    Job,
    JobError,
    JobSpec,
    JobStage,
    JobState,
    JobView,
    PostProcess,
    Result,
    StageDuration,
    Usage,
    Wait,
    WaitReason,
)
from visionjobs.keys import AuditEntry, JobLink, Key, NewKey, Purged, Role
from visionjobs.lanes import BreakerState, Lane
from visionjobs.sync_client import Client
from visionjobs.tls import Tls
from visionjobs.usage import UsageRow

__all__ = [
    "Alert",
    "AlreadyExists",
    "AsyncClient",
    "Attempt",
    "AuditEntry",
    "BreakerState",
    "CachePolicy",
    "Client",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Generation",
    "Image",
    "InvalidArgument",
    "Job",
    "JobError",
    "JobFailed",
    "JobFilter",
    "JobLink",
    "JobSpec",
    "JobStage",
    "JobState",
    "JobView",
    "Key",
    "Lane",
    "NewKey",
    "NotFound",
    "PermissionDenied",
    "PostProcess",
    "Purged",
    "ResourceExhausted",
    "Result",
    "Role",
    "RpcError",
    "StageDuration",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "Usage",
    "UsageRow",
    "Violation",
    "VisionJobsError",
    "Wait",
    "WaitReason",
]
