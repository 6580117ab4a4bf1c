"""What is asked about keys, users, changes and links, and what is answered."""

from datetime import timedelta

from visionjobs.keys import AuditEntry, JobLink, Key, NewKey, Purged, Role
from visionjobs.mapping.enums import word
from visionjobs.mapping.times import duration_message, time_of
from visionjobs.v1 import admin_service_pb2, vision_job_service_pb2

_PREFIX = "ROLE_"


def create_request(
    client_id: str,
    role: Role,
    *,
    max_priority: int | None,
    submissions_per_second: float | None,
    max_queued_jobs: int | None,
) -> admin_service_pb2.CreateKeyRequest:
    """Return the request for a new key. Raises ValueError for a role that no key can have."""
    if role is Role.UNKNOWN:
        raise ValueError("A key cannot be made for an unknown role.")
    return admin_service_pb2.CreateKeyRequest(
        client_id=client_id,
        role=admin_service_pb2.Role.Value(f"{_PREFIX}{role}"),
        max_priority=max_priority or 0,
        submissions_per_second=submissions_per_second or 0,
        max_queued_jobs=max_queued_jobs or 0,
    )


def list_request() -> admin_service_pb2.ListKeysRequest:
    """Return the request for all keys."""
    return admin_service_pb2.ListKeysRequest()


def rotate_request(key_id: str, overlap: timedelta | None) -> admin_service_pb2.RotateKeyRequest:
    """Return the request for a new secret."""
    return admin_service_pb2.RotateKeyRequest(key_id=key_id, overlap=duration_message(overlap))


def revoke_request(key_id: str) -> admin_service_pb2.RevokeKeyRequest:
    """Return the request that ends a key."""
    return admin_service_pb2.RevokeKeyRequest(key_id=key_id)


def purge_request(client_id: str, user_id: str) -> admin_service_pb2.PurgeUserRequest:
    """Return the request that removes what there is of a user."""
    return admin_service_pb2.PurgeUserRequest(client_id=client_id, user_id=user_id)


def audit_request(*, page_size: int, page_token: str) -> admin_service_pb2.ListAuditEntriesRequest:
    """Return the request for a page of changes."""
    return admin_service_pb2.ListAuditEntriesRequest(page_size=page_size, page_token=page_token)


def link_request(job_id: str, lifetime: timedelta | None) -> vision_job_service_pb2.CreateJobLinkRequest:
    """Return the request for a link to a job."""
    return vision_job_service_pb2.CreateJobLinkRequest(job_id=job_id, lifetime=duration_message(lifetime))


def key(message: admin_service_pb2.Key) -> Key:
    """Return the key of an answer."""
    return Key(
        key_id=message.key_id,
        client_id=message.client_id,
        role=_role(message.role),
        max_priority=message.max_priority,
        create_time=time_of(message, "create_time"),
        last_used_time=time_of(message, "last_used_time"),
        revoke_time=time_of(message, "revoke_time"),
        submissions_per_second=message.submissions_per_second,
        max_queued_jobs=message.max_queued_jobs,
        old_secret_expire_time=time_of(message, "old_secret_expire_time"),
    )


def new_key(answer: admin_service_pb2.CreateKeyResponse | admin_service_pb2.RotateKeyResponse) -> NewKey:
    """Return the key of an answer with its secret."""
    return NewKey(key=key(answer.key), secret=answer.secret)


def purged(answer: admin_service_pb2.PurgeUserResponse) -> Purged:
    """Return what was removed."""
    return Purged(
        jobs=answer.jobs,
        images=answer.images,
        results=answer.results,
        cancelled_jobs=answer.cancelled_jobs,
        kept_images=answer.kept_images,
    )


def audit_entry(message: admin_service_pb2.AuditEntry) -> AuditEntry:
    """Return the change of an answer."""
    return AuditEntry(
        audit_id=message.audit_id,
        create_time=time_of(message, "create_time"),
        key_id=message.key_id,
        client_id=message.client_id,
        method=message.method,
        request_json=message.request_json,
        outcome=message.outcome,
    )


def link(answer: vision_job_service_pb2.CreateJobLinkResponse) -> JobLink:
    """Return the link of an answer."""
    return JobLink(url=answer.url, expire_time=time_of(answer, "expire_time"))


def _role(number: int) -> Role:
    name = word(admin_service_pb2.Role.items(), number, _PREFIX)
    return Role(name) if name in Role.__members__ else Role.UNKNOWN
