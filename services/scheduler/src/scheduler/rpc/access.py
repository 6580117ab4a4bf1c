"""Which calls there are, who may make them, and what they count as. What is not in these tables nobody may call."""

from collections.abc import Mapping
from dataclasses import dataclass

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from scheduler.callers import ReflectionAccess, Role
from visionjobs.v1 import admin_service_pb2, executor_service_pb2, vision_job_service_pb2

VISION_JOBS = vision_job_service_pb2.DESCRIPTOR.services_by_name["VisionJobService"].full_name
EXECUTORS = executor_service_pb2.DESCRIPTOR.services_by_name["ExecutorService"].full_name
ADMIN = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name

_ROLES: Mapping[str, frozenset[Role]] = {
    VISION_JOBS: frozenset({Role.CLIENT, Role.ADMIN}),
    EXECUTORS: frozenset({Role.EXECUTOR}),
    ADMIN: frozenset({Role.ADMIN}),
}

_SUBMISSIONS = frozenset({"SubmitJob", "SubmitJobs", "UploadImage", "RetryJob", "RetryJobs"})
_KINDS = {
    (VISION_JOBS, "WatchJob"): "watches",
    (VISION_JOBS, "WatchJobs"): "watches",
    (VISION_JOBS, "UploadImage"): "uploads",
    (EXECUTORS, "Work"): "",
}


@dataclass(frozen=True, slots=True)
class Access:
    """What the gate has to know of a call.

    Attributes:
        is_open: Nobody needs a key for it.
        roles: Of the keys that may make it.
        kind: What it counts as among the open calls of its client; "" for Work, of which there is one an executor.
        is_submission: It brings new work, and is refused first when there is too much.
        is_change: It goes on record.
    """

    is_open: bool = False
    roles: frozenset[Role] = frozenset()
    kind: str = ""
    is_submission: bool = False
    is_change: bool = False


def access_to(method: str, reflection: ReflectionAccess) -> Access:
    """Return what it takes to call a method, named as on the wire: `/package.Service/Method`."""
    service, _, name = method.removeprefix("/").partition("/")
    if service == HEALTH:
        return Access(is_open=True)
    if service == REFLECTION:
        everybody = frozenset(Role) if reflection is not ReflectionAccess.OFF else frozenset[Role]()
        return Access(is_open=reflection is ReflectionAccess.OPEN, roles=everybody)
    return Access(
        roles=_ROLES.get(service, frozenset()),
        kind=_KINDS.get((service, name), "calls"),
        is_submission=service == VISION_JOBS and name in _SUBMISSIONS,
        # Whatever is added later is a change unless its name says that it only reads.
        is_change=service == ADMIN and not name.startswith(("Get", "List")),
    )
