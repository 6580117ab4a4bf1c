"""The operators' calls about keys, and what was changed."""

from typing import Any

from scheduler.callers import ApiKey, Role, SubmissionLimits
from scheduler.errors import InvalidRequest, Violation
from scheduler.keys import Keys
from scheduler.read_audit import ReadAudit
from scheduler.records import AuditEntry
from scheduler.rpc.mapping import duration
from scheduler.wire import set_time
from visionjobs.v1 import admin_service_pb2 as pb
from visionjobs.v1 import admin_service_pb2_grpc

_ROLES = {pb.ROLE_CLIENT: Role.CLIENT, pb.ROLE_EXECUTOR: Role.EXECUTOR, pb.ROLE_ADMIN: Role.ADMIN}
_ROLE_NUMBERS = {role: number for number, role in _ROLES.items()}

_Context = Any
"""grpc.aio.ServicerContext; the generated base class asks for both flavours at once."""


class KeyCalls(admin_service_pb2_grpc.AdminServiceServicer):
    """Maps requests to the use cases."""

    def __init__(self, *, keys: Keys, audit: ReadAudit) -> None:
        self._keys = keys
        self._audit = audit

    async def CreateKey(self, request: pb.CreateKeyRequest, context: _Context) -> pb.CreateKeyResponse:  # noqa: N802
        del context
        role = _ROLES.get(request.role)
        if role is None:
            raise InvalidRequest([Violation("role", "is not a Role" if request.role else "is required")])
        limits = SubmissionLimits(
            max_priority=request.max_priority or None,
            per_second=request.submissions_per_second or None,
            max_queued=request.max_queued_jobs or None,
        )
        key, secret = await self._keys.create(request.client_id, role, limits)
        return pb.CreateKeyResponse(key=_key(key), secret=secret)

    async def ListKeys(self, request: pb.ListKeysRequest, context: _Context) -> pb.ListKeysResponse:  # noqa: N802
        del request, context
        return pb.ListKeysResponse(keys=[_key(key) for key in await self._keys.all()])

    async def RotateKey(self, request: pb.RotateKeyRequest, context: _Context) -> pb.RotateKeyResponse:  # noqa: N802
        del context
        overlap = duration(request.overlap) if request.HasField("overlap") else None
        key, secret = await self._keys.rotate(_id(request.key_id), overlap)
        return pb.RotateKeyResponse(key=_key(key), secret=secret)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: _Context) -> pb.RevokeKeyResponse:  # noqa: N802
        del context
        return pb.RevokeKeyResponse(key=_key(await self._keys.revoke(_id(request.key_id))))

    async def ListAuditEntries(  # noqa: N802
        self, request: pb.ListAuditEntriesRequest, context: _Context
    ) -> pb.ListAuditEntriesResponse:
        del context
        page = await self._audit.page(page_size=request.page_size, page_token=request.page_token)
        return pb.ListAuditEntriesResponse(
            entries=[_entry(entry) for entry in page.entries], next_page_token=page.next_token
        )


def _id(key_id: str) -> str:
    if not key_id or "\x00" in key_id:
        raise InvalidRequest([Violation("key_id", "contains the character NUL" if key_id else "is required")])
    return key_id


def _key(key: ApiKey) -> pb.Key:
    message = pb.Key(
        key_id=key.key_id,
        client_id=key.client_id,
        role=_ROLE_NUMBERS[key.role],
        max_priority=key.limits.max_priority or 0,
        submissions_per_second=key.limits.per_second or 0.0,
        max_queued_jobs=key.limits.max_queued or 0,
    )
    set_time(message.create_time, key.create_time)
    set_time(message.last_used_time, key.last_used_time)
    set_time(message.revoke_time, key.revoke_time)
    set_time(message.old_secret_expire_time, key.old_secret_expire_time)
    return message


def _entry(entry: AuditEntry) -> pb.AuditEntry:
    message = pb.AuditEntry(
        audit_id=entry.audit_id,
        key_id=entry.change.key_id,
        client_id=entry.change.client_id,
        method=entry.change.method,
        request_json=entry.change.request,
        outcome=entry.outcome,
    )
    set_time(message.create_time, entry.create_time)
    return message
