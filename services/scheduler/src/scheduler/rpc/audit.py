"""Puts on record who changed what: before it is done, so that no change goes without; and after it, how it went."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from runtime import logs
from runtime.rpc_errors import RpcError
from scheduler.callers import Caller
from scheduler.errors import StoreUnavailable
from scheduler.ports import KeyStore
from scheduler.records import Change
from scheduler.rpc.errors import translate

_MAX_REQUEST = 2_000
"""Characters: as many as let 1,000 entries fit into one answer."""

_log = logs.get_logger(__name__)


class Audit:
    """The record. Requests hold no secrets: those are in answers only."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    async def recorded(
        self, caller: Caller, method: str, request: Message, change: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Return what the change returns, and raise what it raises. Raises StoreUnavailable if nothing can be recorded."""
        audit_id = await self._store.begin_audit(
            Change(
                key_id=caller.key_id,
                client_id=caller.client_id,
                method=method.removeprefix("/"),
                request=_shown(request),
            )
        )
        try:
            response = await change()
        except Exception as error:
            await self._end(audit_id, _outcome(error))
            raise
        await self._end(audit_id, "OK")
        return response

    async def _end(self, audit_id: int, outcome: str) -> None:
        try:
            await self._store.end_audit(audit_id, outcome)
        except StoreUnavailable as error:
            # What was done is done, and on record; only its outcome is not.
            _log.warning("audit_not_ended", audit_id=audit_id, outcome=outcome, error=str(error))


def _shown(request: Message) -> str:
    """Return a request as JSON; of one that is too long its beginning, for pages of entries are read at once."""
    text = json_format.MessageToJson(request, indent=None)
    if len(text) <= _MAX_REQUEST:
        return text
    return json.dumps({"beginning": text[: _MAX_REQUEST // 2], "characters": len(text)})


def _outcome(error: Exception) -> str:
    known = error if isinstance(error, RpcError) else translate(error)
    return known.code.name if known else "INTERNAL"
