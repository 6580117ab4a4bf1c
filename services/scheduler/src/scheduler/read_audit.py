"""Reads the record of changes, newest first."""

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.errors import InvalidRequest, Violation
from scheduler.ports import KeyStore
from scheduler.records import AuditEntry

DEFAULT_PAGE = 50
MAX_PAGE = 1_000
_MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries; `next_token` is "" on the last page."""

    entries: Sequence[AuditEntry]
    next_token: str


class ReadAudit:
    """The use case."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    async def page(self, *, page_size: int, page_token: str) -> Page:
        """Return a page; a size of 0 means 50, one above 1,000 is lowered to it. Raises InvalidRequest."""
        if page_size < 0:
            raise InvalidRequest([Violation("page_size", "must not be negative")])
        limit = min(page_size or DEFAULT_PAGE, MAX_PAGE)
        entries = await self._store.audit_entries(before=_before(page_token), limit=limit + 1)
        shown = entries[:limit]
        return Page(shown, str(shown[-1].audit_id) if len(entries) > limit else "")


def _before(page_token: str) -> int | None:
    if not page_token:
        return None
    if not (
        page_token.isascii() and page_token.isdecimal() and 0 < len(page_token) < 20 and int(page_token) <= _MAX_ID
    ):
        raise InvalidRequest([Violation("page_token", "is not a page token")])
    return int(page_token)
