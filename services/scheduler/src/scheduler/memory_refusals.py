"""What the provider refuses again and again, in the store in memory. See ports.RefusalStore."""

import datetime
from collections.abc import Sequence

from scheduler.ports import StoreClock
from scheduler.records import Refused, RefusedKind

_LIFETIME = datetime.timedelta(hours=24)


class MemoryRefusals:
    """The part of the store that remembers refusals."""

    def __init__(self, *, clock: StoreClock) -> None:
        self._refusal_time = clock
        self._refusals: dict[tuple[RefusedKind, str, str, str], tuple[datetime.datetime, Refused]] = {}

    async def note_refused(
        self,
        kind: RefusedKind,
        client_id: str,
        key: str,
        lane: str,
        message: str,
        *,
        limit: int,
        rest: datetime.timedelta,
    ) -> Refused:
        now = self._refusal_time.now()
        before, known = self._refusals.get((kind, client_id, key, lane), (now, None))
        count = 1 if known is None or before < now - _LIFETIME else known.count + 1
        refused = Refused(
            kind=kind,
            client_id=client_id,
            key=key,
            lane=lane,
            count=count,
            until=now + rest if count >= limit else None,
            message=message,
        )
        self._refusals[kind, client_id, key, lane] = (now, refused)
        return refused

    async def note_accepted(self, kind: RefusedKind, client_id: str, key: str, lane: str) -> None:
        self._refusals.pop((kind, client_id, key, lane), None)

    async def refused(self) -> Sequence[Refused]:
        now = self._refusal_time.now()
        return [
            refused
            for time, refused in self._refusals.values()
            if time >= now - _LIFETIME or (refused.until is not None and refused.until >= now)
        ]
