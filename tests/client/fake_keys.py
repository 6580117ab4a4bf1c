# ruff: noqa: N802 - the methods have the names of the contract
"""The half of the fake scheduler that knows keys, users and changes."""

import datetime
from typing import Any

import grpc
from fake_answers import failure, key_message
from google.protobuf import timestamp_pb2
from google.protobuf.message import Message
from grpc_status import rpc_status

from visionjobs.v1 import admin_service_pb2, admin_service_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

SECRET = "vj_key1_a-secret-that-nobody-may-see"
"""Of every key that the fake makes."""


class FakeKeys(admin_service_pb2_grpc.AdminServiceServicer):
    """Looks after `keys`, by id, newest first, and `entries`, newest first; it does not check who calls."""

    keys: dict[str, admin_service_pb2.Key]
    entries: list[admin_service_pb2.AuditEntry]
    purged: admin_service_pb2.PurgeUserResponse

    async def _note(self, request: Message, context: Context) -> None:
        raise NotImplementedError

    async def CreateKey(
        self, request: admin_service_pb2.CreateKeyRequest, context: Context
    ) -> admin_service_pb2.CreateKeyResponse:
        await self._note(request, context)
        key = key_message(f"key{len(self.keys) + 1}")
        for field, value in request.ListFields():
            setattr(key, field.name, value)
        self.keys = {key.key_id: key} | self.keys
        return admin_service_pb2.CreateKeyResponse(key=key, secret=SECRET)

    async def ListKeys(
        self, request: admin_service_pb2.ListKeysRequest, context: Context
    ) -> admin_service_pb2.ListKeysResponse:
        await self._note(request, context)
        return admin_service_pb2.ListKeysResponse(keys=self.keys.values())

    async def RotateKey(
        self, request: admin_service_pb2.RotateKeyRequest, context: Context
    ) -> admin_service_pb2.RotateKeyResponse:
        await self._note(request, context)
        key = await self._key(request.key_id, context)
        overlap = request.overlap.ToTimedelta() if request.HasField("overlap") else datetime.timedelta(hours=1)
        key.old_secret_expire_time.FromDatetime(datetime.datetime.now(datetime.UTC) + overlap)
        return admin_service_pb2.RotateKeyResponse(key=key, secret=SECRET)

    async def RevokeKey(
        self, request: admin_service_pb2.RevokeKeyRequest, context: Context
    ) -> admin_service_pb2.RevokeKeyResponse:
        await self._note(request, context)
        key = await self._key(request.key_id, context)
        key.revoke_time.CopyFrom(timestamp_pb2.Timestamp(seconds=1_800_003_600))
        return admin_service_pb2.RevokeKeyResponse(key=key)

    async def PurgeUser(
        self, request: admin_service_pb2.PurgeUserRequest, context: Context
    ) -> admin_service_pb2.PurgeUserResponse:
        await self._note(request, context)
        return self.purged

    async def ListAuditEntries(
        self, request: admin_service_pb2.ListAuditEntriesRequest, context: Context
    ) -> admin_service_pb2.ListAuditEntriesResponse:
        await self._note(request, context)
        begin = int(request.page_token or 0)
        end = begin + (request.page_size or 50)
        token = str(end) if end < len(self.entries) else ""
        return admin_service_pb2.ListAuditEntriesResponse(entries=self.entries[begin:end], next_page_token=token)

    async def _key(self, key_id: str, context: Context) -> admin_service_pb2.Key:
        if key_id not in self.keys:
            missing = failure("NOT_FOUND", f"There is no key {key_id}.", reason="KEY_NOT_FOUND")
            await context.abort_with_status(rpc_status.to_status(missing))
        return self.keys[key_id]
