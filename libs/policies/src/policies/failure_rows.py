"""The shape of the failure table: what a row says of one way in which a call ends without a valid answer."""

import enum
from dataclasses import dataclass

from policies.ladder import Flaw
from policies.provider_error import ProviderError

PROVIDER_ERROR = "PROVIDER_ERROR"
SHED = "SHED"
TIMEOUT = "TIMEOUT"
CANCELLED = "CANCELLED"
THROTTLED = "THROTTLED"
RELEASED = "RELEASED"
BAD_REQUEST = "BAD_REQUEST"
BAD_IMAGE = "BAD_IMAGE"
BLOCKED = "BLOCKED"
INVALID_OUTPUT = "INVALID_OUTPUT"

ANY_PROVIDER = ""
GEMINI = "gemini"
DEEPSEEK = "deepseek"


class Paid(enum.Enum):
    """Whether the call was billed."""

    NO = "no"
    YES = "yes"
    MAYBE = "nobody knows"


class LaneEffect(enum.Enum):
    """What the end of one call does to the calls of all other jobs in the lane."""

    NONE = "stays open"
    PROVIDER_TIME = "closed for the time that the provider names"
    BACKOFF = "closed for 30 s, doubled each time, at most 10 min"
    DAY = "closed until midnight in California"
    STOP = "stopped until a person resumes it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way to end, and all that follows from it.

    Attributes:
        name: Stable, snake_case, unique.
        provider: Whose; ANY_PROVIDER for all of them.
        comes: What comes over the wire, for people.
        kind: Of the outcome, UPPER_SNAKE: THROTTLED and RELEASED go back unspent, the others are failures.
        retryable: Whether the same job may succeed later.
        paid: Whether the call was billed.
        lane: What becomes of the lane.
        flaw: What is wrong with an answer that came.
        schema_suspected: Whether the schema may be why the provider refused the request.
        message: For people; {words} stands for the provider's.
        stop: Why the lane is stopped, for people; "" where it is not.
    """

    name: str
    provider: str = ANY_PROVIDER
    comes: str
    kind: str
    retryable: bool
    paid: Paid = Paid.NO
    lane: LaneEffect = LaneEffect.NONE
    flaw: Flaw | None = None
    schema_suspected: bool = False
    message: str = "{words}"
    stop: str = ""

    @property
    def charged(self) -> bool:
        """Whether it counts against the job's retries, as long as the lane's breaker is closed."""
        return self.retryable and self.kind not in (THROTTLED, RELEASED)

    @property
    def refuses_executor(self) -> bool:
        """Whether the executor's key is at fault, so that it stops calling this provider."""
        return self.kind == RELEASED


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRow(Row):
    """Fits error statuses from `first` to `last` that have all the other marks which are given.

    Attributes:
        canonical: The canonical code.
        reason: Of an ErrorInfo.
        words: One of these is in the provider's message, in lower case.
        quota: Part of the id of a quota that is used up.
        timed: Whether the provider must name a time.
        service_tier: In which the call was made.
    """

    first: int
    last: int
    canonical: str = ""
    reason: str = ""
    words: tuple[str, ...] = ()
    quota: str = ""
    timed: bool = False
    service_tier: str = ""

    def fits(self, error: ProviderError, *, provider: str, service_tier: str) -> bool:
        return (
            self.first <= error.status <= self.last
            and self.provider in (ANY_PROVIDER, provider)
            and self.canonical in ("", error.canonical)
            and self.service_tier in ("", service_tier)
            and (not self.reason or self.reason in error.reasons)
            and (not self.words or any(word in error.message.lower() for word in self.words))
            and (not self.quota or any(self.quota in quota_id for quota_id in error.quota_ids))
            and (not self.timed or error.retry_seconds is not None)
        )
