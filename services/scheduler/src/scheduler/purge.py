"""Forgets a user: what the jobs said and gave, and the images. What a bill needs stays."""

from collections.abc import Callable
from dataclasses import dataclass

from runtime import logs
from scheduler.cancel import Cancel
from scheduler.errors import InvalidRequest
from scheduler.forgetting import Forgetting
from scheduler.ports import UserStore
from scheduler.records import JobQuery, Purged
from scheduler.validation import check_user

_MOST_ROUNDS = 10

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What was done: jobs that were cancelled, and what was removed of these and of older ones."""

    cancelled_jobs: int
    purged: Purged


class Purge:
    """The use case."""

    def __init__(
        self, *, store: UserStore, cancel: Cancel, forgetting: Forgetting, on_images_removed: Callable[[], None]
    ) -> None:
        self._store = store
        self._cancel = cancel
        self._forgetting = forgetting
        self._on_images_removed = on_images_removed

    async def user(self, client_id: str, user_id: str) -> Removal:
        """Cancel the jobs of a user that are not final, and remove the content of all; states, times and costs stay.

        Some jobs that are submitted meanwhile are purged too, but not one that comes last: who purges a user stops
        submitting for it before. A call that failed in the middle is made again.

        Raises:
            InvalidRequest: An id is missing or malformed.
            StoreUnavailable: Not everything is removed.
        """
        violations = check_user(client_id, user_id)
        if violations:
            raise InvalidRequest(violations)
        cancelled, purged = 0, Purged()
        for _ in range(_MOST_ROUNDS):
            ended = await self._cancel.jobs(client_id, JobQuery(user_id=user_id, labels={}), dry_run=False)
            removed = await self._store.purge_user(client_id, user_id)
            cancelled, purged = cancelled + ended, purged + removed
            # What ended by itself, or came, while jobs were removed is found by another round.
            if not ended and not removed.jobs:
                break
        else:
            _log.warning("purge_outrun_by_submissions", client_id=client_id)
        self._on_images_removed()
        await self._forgetting.user(client_id, user_id)
        return Removal(cancelled_jobs=cancelled, purged=purged)
