"""Who may do what as plain values: keys, links to a job, what was changed by whom, and what a purge removed."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What a key may do: CLIENT, hand over jobs and see its own; EXECUTOR, work on jobs; ADMIN, all but working.

    UNKNOWN is a role that a newer scheduler has and this client has not.
    """

    CLIENT = "CLIENT"
    EXECUTOR = "EXECUTOR"
    ADMIN = "ADMIN"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key without its secret. A limit of 0 is the one that the scheduler's settings give to all.

    Attributes:
        key_id: Names it; not secret.
        client_id: Whose jobs it submits.
        max_priority: The most urgent priority that it may ask for; 0 means any.
        last_used_time: To the minute.
        revoke_time: None while it works.
        submissions_per_second: On average, of all keys of the client.
        max_queued_jobs: Jobs of the client that may wait or run at a time.
        old_secret_expire_time: Until when the secret before the last rotation works too.
    """

    key_id: str
    client_id: str
    role: Role
    max_priority: int
    create_time: datetime | None
    last_used_time: datetime | None
    revoke_time: datetime | None
    submissions_per_second: float
    max_queued_jobs: int
    old_secret_expire_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key with its secret, which nobody can be told again.

    Attributes:
        secret: What calls are made with: the `api_key` of a client.
    """

    key: Key
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What was removed of a user.

    Attributes:
        jobs: Jobs that lost their prompt, schema, labels and messages.
        cancelled_jobs: Those that were not final.
        kept_images: Images that stay, because unfinished jobs of other users of the client need them.
    """

    jobs: int
    images: int
    results: int
    cancelled_jobs: int
    kept_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change.

    Attributes:
        audit_id: Rises with time.
        create_time: When it was asked for.
        key_id: Whose key asked; empty while there are no keys, and for commands on the scheduler's machine.
        client_id: The client of that key; "anonymous" and "local" stand for those two.
        method: The full name of the call, or the command.
        request_json: What was asked for.
        outcome: OK, or the name of a status code. Empty: not yet, or the scheduler died first.
    """

    audit_id: int
    create_time: datetime | None
    key_id: str
    client_id: str
    method: str
    request_json: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLink:
    """A link under which anybody can read one job for a while, so it is as secret as what it shows.

    Attributes:
        url: Only a path if the scheduler is not configured with its public URL.
    """

    url: str
    expire_time: datetime | None
