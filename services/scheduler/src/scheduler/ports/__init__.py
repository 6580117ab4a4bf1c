"""What the use cases need from the store, one protocol a reader.

Every method is atomic. All raise StoreUnavailable when the store cannot be reached in time; a method that raised it
may have taken effect, and may be repeated.
"""

from typing import Protocol

from scheduler.ports.clients import JobReader, SubmissionStore, UsageStore, UserStore
from scheduler.ports.images import CollectionStore, ImageObjects
from scheduler.ports.operating import AlertStore, KeyStore, RefusalStore
from scheduler.ports.queue import ClaimStore, CommandStore, ExecutorStore, LaneStore, OutcomeStore, StoreClock

__all__ = [
    "AlertStore",
    "ClaimStore",
    "CollectionStore",
    "CommandStore",
    "ExecutorStore",
    "ImageObjects",
    "JobReader",
    "KeyStore",
    "LaneStore",
    "OutcomeStore",
    "RefusalStore",
    "Store",
    "StoreClock",
    "SubmissionStore",
    "UsageStore",
    "UserStore",
]


class Store(
    SubmissionStore,
    ClaimStore,
    OutcomeStore,
    ExecutorStore,
    JobReader,
    UsageStore,
    RefusalStore,
    AlertStore,
    LaneStore,
    KeyStore,
    UserStore,
    CollectionStore,
    CommandStore,
    Protocol,
):
    """All of it: what an implementation provides."""

    @property
    def time(self) -> StoreClock: ...

    async def maintain(self) -> None:
        """Do what wants doing now and then; worth a call each minute."""
        ...
