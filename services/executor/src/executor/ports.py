"""What an executor's use cases need from the outside."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from executor.work import Assignment, AttemptId, Stage, Usage, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A model's text, complete and meant as an answer."""

    text: str
    usage: Usage
    model_version: str
    response_id: str = ""
    finish_reason: str = ""


class CallFailed(Exception):
    """A call gave no usable text.

    Attributes:
        verdict: What that makes of the attempt.
        answered: Whether the provider sent a 200: then it is billed.
        usage: Tokens, if the provider told.
        model_version: The model, if the provider told.
        refuses_key: Whether the key is at fault: a condition of this executor, not of the job.
    """

    def __init__(
        self,
        verdict: Verdict,
        *,
        paid: bool,
        usage: Usage | None = None,
        model_version: str = "",
        refuses_key: bool = False,
    ) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict
        self.paid = paid
        self.usage = usage
        self.model_version = model_version
        self.refuses_key = refuses_key


class ModelClient(Protocol):
    """Calls the model."""

    async def analyze(self, assignment: Assignment, images: Sequence[tuple[str, bytes]]) -> Answer:
        """Make one paid call with the images as (MIME type, bytes), within the assignment's timeout.

        Raises:
            CallFailed: No usable text came back.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who dials, and the attempts it holds."""

    executor_id: str
    host: str
    version: str
    capacity: int
    lanes: Sequence[str]
    held: Collection[AttemptId]


@dataclass(frozen=True, slots=True)
class Credit:
    """Free slots, and how many assignments had arrived on this stream by then."""

    free_slots: int
    assignments_received: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """An assignment has arrived."""

    attempt_id: AttemptId


@dataclass(frozen=True, slots=True)
class Progress:
    """An attempt enters a stage."""

    attempt_id: AttemptId
    stage: Stage


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """An outcome as it stands on the spool."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Proof of life; every third one lists what is held."""

    number: int
    held: Collection[AttemptId] | None


Uplink = Hello | Credit | Accepted | Progress | OutcomeReport | Heartbeat


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The scheduler knows this executor; superseded attempts were given to others."""

    session: int
    heartbeat_seconds: float
    superseded: Sequence[AttemptId]


@dataclass(frozen=True, slots=True)
class Assigned:
    """A new attempt to make."""

    assignment: Assignment


@dataclass(frozen=True, slots=True)
class OutcomeAcks:
    """Outcomes that are stored, or that nobody needs."""

    attempts: Sequence[AttemptId]


@dataclass(frozen=True, slots=True)
class Cancels:
    """Attempts to stop."""

    attempts: Sequence[AttemptId]


@dataclass(frozen=True, slots=True)
class Echo:
    """A heartbeat of this number is stored."""

    number: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Take no more work."""

    reason: str


Downlink = Welcome | Assigned | OutcomeAcks | Cancels | Echo | Drain


class LinkBroken(Exception):
    """The stream is over; the message says why."""


class Link(Protocol):
    """An open stream to one scheduler."""

    def send(self, *items: Uplink) -> None:
        """Send soon, in order, many in one message. Never blocks; a broken link drops them."""
        ...

    def receive(self) -> AsyncIterator[Sequence[Downlink]]:
        """Yield what arrives. Raises LinkBroken at the end."""
        ...


class Dialer(Protocol):
    """Opens streams."""

    def dial(self, address: str) -> AbstractAsyncContextManager[Link]:
        """Dial a scheduler; failure shows as LinkBroken from `receive`."""
        ...


class ImageSource(Protocol):
    """Fetches images of assigned jobs."""

    async def fetch(self, job_id: str, sha256: str) -> bytes:
        """Return the bytes; waits while no scheduler is connected. Raises ImageUnavailable if there are none."""
        ...


class ImageUnavailable(Exception):
    """An image cannot be had."""


class Spool(Protocol):
    """Keeps outcomes until a scheduler has stored them. All methods may block on the disk for milliseconds."""

    async def append(self, records: Sequence[tuple[AttemptId, bytes]]) -> None:
        """Return when the records are on disk. Raises OSError."""
        ...

    async def acknowledge(self, attempts: Collection[AttemptId]) -> None:
        """Forget records. Raises OSError."""
        ...

    async def adopt(self) -> Sequence[tuple[AttemptId, bytes]]:
        """Take over what dead executors left behind: it is this spool's now. Raises OSError."""
        ...
