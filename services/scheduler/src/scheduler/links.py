"""Links that show one job to whoever holds them, until they expire.

A link is signed, not stored: it names the client, the job and its expiry, and any scheduler can check it. It can be read
by its holder, but not changed. It outlives the key that asked for it.
"""

import datetime
import hashlib
from typing import Protocol

from itsdangerous import BadData, URLSafeSerializer

from scheduler.errors import InvalidRequest, LinkExpired, LinkInvalid, Violation
from scheduler.jobs import Job
from scheduler.ports import StoreClock

SECRET_NAME = "job-link"  # noqa: S105 - the secret's name, and the salt
"""Under which the store keeps the secret."""

DEFAULT_LIFETIME = datetime.timedelta(hours=1)
MIN_LIFETIME = datetime.timedelta(seconds=1)
MAX_LIFETIME = datetime.timedelta(days=30)

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)


class SecretStore(Protocol):
    """Keeps secrets that all schedulers share."""

    async def signing_secret(self, name: str) -> bytes:
        """Return the secret of that name; the first call makes it."""
        ...


class JobLookup(Protocol):
    """Finds jobs."""

    async def job(self, client_id: str, job_id: str, *, attempts: bool) -> Job:
        """Return one job. Raises InvalidRequest for a malformed id, JobNotFound."""
        ...


class JobLinks:
    """Signs and checks links."""

    def __init__(self, *, secret: bytes, time: StoreClock) -> None:
        self._serializer = URLSafeSerializer(
            secret, salt=SECRET_NAME, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
        )
        self._time = time

    def sign(self, client_id: str, job_id: str, lifetime: datetime.timedelta) -> tuple[str, datetime.datetime]:
        """Return a link to the job, and when it expires."""
        milliseconds = (self._time.now() + lifetime - _EPOCH) // _MILLISECOND
        link = str(self._serializer.dumps([client_id, job_id, milliseconds]))
        return link, _EPOCH + milliseconds * _MILLISECOND

    def client_of(self, link: str, job_id: str) -> str:
        """Return the client whose job the link shows; the id is in canonical form.

        Raises:
            LinkInvalid: It was not made with this secret, or for another job.
            LinkExpired: It was good until then.
        """
        try:
            payload = self._serializer.loads(link)
        except BadData:
            raise LinkInvalid from None
        # Base64 has several spellings of the same signature; one is enough.
        if self._serializer.dumps(payload) != link:
            raise LinkInvalid
        client_id, linked_id, milliseconds = payload
        if linked_id != job_id:
            raise LinkInvalid
        expire_time = _EPOCH + milliseconds * _MILLISECOND
        if self._time.now() >= expire_time:
            raise LinkExpired(expire_time)
        return str(client_id)


class Links:
    """The use case.

    Attributes:
        public_url: Where callers reach this system's HTTP port, without a slash at its end; "" leaves only the path.
    """

    def __init__(self, *, store: SecretStore, jobs: JobLookup, time: StoreClock, public_url: str) -> None:
        self.public_url = public_url
        self._store = store
        self._jobs = jobs
        self._time = time
        self._signer: JobLinks | None = None

    async def create(
        self, client_id: str, job_id: str, lifetime: datetime.timedelta | None
    ) -> tuple[str, datetime.datetime]:
        """Return the address under which the job can be read, and until when; without a lifetime, for an hour.

        Raises:
            InvalidRequest: The id is malformed, or the lifetime out of bounds.
            JobNotFound: The client has no such job.
            StoreUnavailable: The database is away.
        """
        chosen = DEFAULT_LIFETIME if lifetime is None else lifetime
        if not MIN_LIFETIME <= chosen <= MAX_LIFETIME:
            raise InvalidRequest([Violation("lifetime", "must be 1 s to 30 days")])
        job = await self._jobs.job(client_id, job_id, attempts=False)
        link, expire_time = (await self._links()).sign(client_id, job.job_id, chosen)
        return f"{self.public_url}/jobs/{job.job_id}?link={link}", expire_time

    async def client_of(self, link: str, job_id: str) -> str:
        """Return the client whose job the link shows. Raises as `JobLinks.client_of`, and StoreUnavailable."""
        return (await self._links()).client_of(link, job_id)

    async def _links(self) -> JobLinks:
        if self._signer is None:
            self._signer = JobLinks(secret=await self._store.signing_secret(SECRET_NAME), time=self._time)
        return self._signer
