"""Who calls, and what the key of a caller says."""

import datetime
import enum
from dataclasses import dataclass

ANONYMOUS = "anonymous"
"""The client of everybody while there are no keys."""


LOCAL = "local"
"""The client that changes by commands on the scheduler's machine are recorded for."""


class Role(enum.IntEnum):
    """What a key may do; numbers as stored and on the wire."""

    CLIENT = 1
    EXECUTOR = 2
    ADMIN = 3


class ReflectionAccess(enum.StrEnum):
    """Who may ask what calls there are."""

    OPEN = "open"
    KEYS = "keys"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionLimits:
    """What a caller may submit; None is no limit.

    Attributes:
        max_priority: The most urgent priority, 1 being the highest.
        per_second: Jobs per second on average, over all schedulers.
        max_queued: Jobs in the queue at a time, over all schedulers.
    """

    max_priority: int | None = None
    per_second: float | None = None
    max_queued: int | None = None


UNLIMITED = SubmissionLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls; `role` is None while there are no keys, when everybody may do everything."""

    client_id: str
    role: Role | None
    key_id: str = ""
    limits: SubmissionLimits = UNLIMITED


ANYBODY = Caller(client_id=ANONYMOUS, role=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its secret; limits that are None are those of the settings."""

    key_id: str
    client_id: str
    role: Role
    limits: SubmissionLimits = UNLIMITED
    create_time: datetime.datetime
    last_used_time: datetime.datetime | None = None
    revoke_time: datetime.datetime | None = None
    old_secret_expire_time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key with the SHA-256 of what its callers send, and of what they sent before the last rotation."""

    key: ApiKey
    secret_hash: bytes
    old_secret_hash: bytes | None = None
