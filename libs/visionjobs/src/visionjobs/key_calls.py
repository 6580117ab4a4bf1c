"""The part of the client that says who may do what: keys, purges of users, the record of changes, and links to jobs."""

from collections.abc import AsyncGenerator
from datetime import timedelta

from visionjobs.calls import Calls
from visionjobs.keys import AuditEntry, JobLink, Key, NewKey, Purged, Role
from visionjobs.mapping import keys as messages


class KeyCalls:
    """Looks after keys and what they protect; all but `job_link` is for admin keys."""

    _calls: Calls

    async def create_key(
        self,
        client_id: str,
        role: Role,
        *,
        max_priority: int | None = None,
        submissions_per_second: float | None = None,
        max_queued_jobs: int | None = None,
    ) -> NewKey:
        """Make a key. As soon as there is one, every call needs a key.

        The call is made once: repeated, it could make two keys. Whether an Unavailable or a DeadlineExceeded made one,
        `list_keys` tells.

        Args:
            client_id: Whose jobs it submits: 1 to 63 letters, digits, "-", "_" and "."; begins with a letter or digit.
            role: What it may do.
            max_priority: The most urgent priority that it may ask for, 1 to 3. Default: any.
            submissions_per_second: Jobs that the client may submit in a second on average. Default: the scheduler's.
            max_queued_jobs: Jobs of the client that may wait or run at a time. Default: the scheduler's.

        Raises:
            InvalidArgument: Its violations name the bad fields.
        """
        request = messages.create_request(
            client_id,
            role,
            max_priority=max_priority,
            submissions_per_second=submissions_per_second,
            max_queued_jobs=max_queued_jobs,
        )
        answer = await self._calls.once(self._calls.admin.CreateKey, request)
        return messages.new_key(answer)

    async def list_keys(self) -> tuple[Key, ...]:
        """Return all keys, also revoked ones, newest first."""
        answer = await self._calls.unary(self._calls.admin.ListKeys, messages.list_request())
        return tuple(messages.key(key) for key in answer.keys)

    async def rotate_key(self, key_id: str, *, overlap: timedelta | None = None) -> NewKey:
        """Give a key a new secret; the old one goes on working for a while.

        The call is made once: repeated, it could end the old secret and lose the new one. After an Unavailable or a
        DeadlineExceeded, `old_secret_expire_time` tells whether it was made.

        Args:
            key_id: Of a key that is not revoked.
            overlap: How long the old secret works, at most 7 days. Default: 1 h.

        Raises:
            NotFound: There is no such key.
            FailedPrecondition: It is revoked.
        """
        request = messages.rotate_request(key_id, overlap)
        answer = await self._calls.once(self._calls.admin.RotateKey, request)
        return messages.new_key(answer)

    async def revoke_key(self, key_id: str) -> Key:
        """End a key and its running calls, within five seconds on every scheduler. Twice is the same as once.

        Raises:
            NotFound: There is no such key.
            FailedPrecondition: It is the last admin key.
        """
        answer = await self._calls.unary(self._calls.admin.RevokeKey, messages.revoke_request(key_id))
        return messages.key(answer.key)

    async def purge_user(self, client_id: str, user_id: str) -> Purged:
        """Remove the prompts, images and results of a user for good, after stopping the jobs that are not final.

        The jobs themselves stay with their states, times and costs. A call that is repeated goes on where the one
        before was broken off, and tells only what it removed itself.
        """
        request = messages.purge_request(client_id, user_id)
        return messages.purged(await self._calls.unary(self._calls.admin.PurgeUser, request))

    async def audit(self, *, page_size: int = 0) -> AsyncGenerator[AuditEntry, None]:
        """Yield what was changed, by whom and when, newest first, over as many pages as there are.

        Args:
            page_size: How many changes one call fetches; 0 leaves it to the scheduler.
        """
        page_token = ""
        while True:
            request = messages.audit_request(page_size=page_size, page_token=page_token)
            answer = await self._calls.unary(self._calls.admin.ListAuditEntries, request)
            for entry in answer.entries:
                yield messages.audit_entry(entry)
            page_token = answer.next_page_token
            if not page_token:
                return

    async def job_link(self, job_id: str, *, lifetime: timedelta | None = None) -> JobLink:
        """Return a link under which anybody can read the job on the scheduler's HTTP port until it expires.

        Args:
            job_id: Of a job of the caller.
            lifetime: How long it works, 1 s to 30 days. Default: 1 h.

        Raises:
            NotFound: The caller has none of that id.
        """
        request = messages.link_request(job_id, lifetime)
        return messages.link(await self._calls.unary(self._calls.jobs.CreateJobLink, request))
