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

`AsyncClient` is the same for asyncio. Both read VISIONJOBS_ADDRESS and VISIONJOBS_API_KEY.
"""

from visionjobs.client import AsyncClient
from visionjobs.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    JobFailed,
    NotFound,
    ResourceExhausted,
    RpcError,
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
    Result,
    StageDuration,
    Usage,
    Wait,
    WaitReason,
)
from visionjobs.lanes import BreakerState, Lane
from visionjobs.sync_client import Client

__all__ = [
    "AlreadyExists",
    "AsyncClient",
    "Attempt",
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
    "JobSpec",
    "JobStage",
    "JobState",
    "JobView",
    "Lane",
    "NotFound",
    "ResourceExhausted",
    "Result",
    "RpcError",
    "StageDuration",
    "Unavailable",
    "UnexpectedAnswer",
    "Usage",
    "Violation",
    "VisionJobsError",
    "Wait",
    "WaitReason",
]
