"""A system whose doors are closed, and callers with keys."""

from __future__ import annotations  # grpc's classes are generic in their stubs only

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import error_details_pb2
from system_calls import details

from devkit.stack import Stack
from visionjobs.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    executor_service_pb2_grpc,
    vision_job_service_pb2_grpc,
)

Metadata = tuple[tuple[str, str], ...]


def bearer(secret: str) -> Metadata:
    return (("authorization", f"Bearer {secret}"),)


@dataclass(frozen=True)
class KeyHolder:
    """A key, and calls with it to one scheduler."""

    key_id: str
    secret: str = field(repr=False)
    channel: grpc.aio.Channel

    @property
    def metadata(self) -> Metadata:
        return bearer(self.secret)

    @property
    def jobs(self) -> Any:
        return vision_job_service_pb2_grpc.VisionJobServiceStub(self.channel)

    @property
    def operators(self) -> Any:
        return admin_service_pb2_grpc.AdminServiceStub(self.channel)

    @property
    def executors(self) -> Any:
        return executor_service_pb2_grpc.ExecutorServiceStub(self.channel)


class Doors:
    """A system with keys; the first of its keys is an admin's."""

    def __init__(self, system: Stack, exits: contextlib.AsyncExitStack) -> None:
        self.system = system
        self._exits = exits
        self._channels: dict[str, grpc.aio.Channel] = {}
        self.admin: KeyHolder

    async def channel(self, address: str = "") -> grpc.aio.Channel:
        """Return a channel to a scheduler, the first one by default."""
        address = address or self.system.address
        if address not in self._channels:
            self._channels[address] = await self._exits.enter_async_context(grpc.aio.insecure_channel(address))
        return self._channels[address]

    async def close(self) -> None:
        """Make the first key, which closes the doors."""
        channel = await self.channel()
        request = admin_service_pb2.CreateKeyRequest(client_id="ops", role=admin_service_pb2.ROLE_ADMIN)
        operators: Any = admin_service_pb2_grpc.AdminServiceStub(channel)
        made = await operators.CreateKey(request)
        self.admin = KeyHolder(made.key.key_id, made.secret, channel)

    async def key(self, client_id: str, role: str = "CLIENT", *, address: str = "", **limits: Any) -> KeyHolder:
        """Make a key by the first scheduler, for calls to the one of this address."""
        request = admin_service_pb2.CreateKeyRequest(
            client_id=client_id, role=admin_service_pb2.Role.Value(f"ROLE_{role}"), **limits
        )
        made = await self.admin.operators.CreateKey(request, metadata=self.admin.metadata)
        return KeyHolder(made.key.key_id, made.secret, await self.channel(address))

    async def revoke(self, key: KeyHolder) -> None:
        request = admin_service_pb2.RevokeKeyRequest(key_id=key.key_id)
        await self.admin.operators.RevokeKey(request, metadata=self.admin.metadata)


@contextlib.asynccontextmanager
async def closed(system: Stack) -> AsyncIterator[Doors]:
    """Close the doors of a system."""
    async with contextlib.AsyncExitStack() as exits:
        doors = Doors(system, exits)
        await doors.close()
        yield doors


def reason(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str]:
    """Return the code and the reason of an error."""
    return error.code(), details(error)[error_details_pb2.ErrorInfo].reason
