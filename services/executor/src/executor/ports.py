"""What the use cases need from outside: the provider, the scheduler's stream, images, and the spool."""

import contextlib
import datetime
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from executor.work import Assignment, AttemptId, Generation, Outcome, Stage, Usage

# --- the provider ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelImage:
    """An image as the model gets it."""

    data: bytes
    mime_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One paid call.

    Attributes:
        provider: Who is called: gemini or deepseek.
        input_json: What the step before gave; "" in the first.
        schema_json: The caller's full schema; what of it the model is told is the client's business.
        timeout: After which nobody waits for the answer any more.
    """

    provider: str
    model: str
    prompt: str
    input_json: str = ""
    system_instruction: str
    images: tuple[ModelImage, ...]
    schema_json: str
    generation: Generation
    timeout: datetime.timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswer:
    """What a 200 said. Nothing in it is checked.

    Attributes:
        text: The first candidate's, without its thoughts.
        finish_reason: The first candidate's; "" for none.
        block_reason: Why the prompt was blocked; "" if it was not.
        model_version: The model that answered.
        response_id: The provider's name for the answer.
        usage: None if nothing was counted.
        service_tier: What was served, in upper case; "" if that is not told.
        has_candidate: Whether there is an answer at all, whatever became of it.
    """

    text: str
    finish_reason: str
    block_reason: str = ""
    model_version: str = ""
    response_id: str = ""
    usage: Usage | None = None
    service_tier: str = ""
    has_candidate: bool = True


class ModelError(Exception):
    """A call that gave no answer.

    ModelError
    ├── ProviderRefused    an error status
    ├── UnsendableRequest  it cannot be put into the provider's words; nothing was sent
    ├── NotConnected       the provider was not reached; nothing was sent
    ├── ConnectionBroken   sent, but the answer never came
    └── UnreadableAnswer   a 200 that is not an answer of this API
    """


class ProviderRefused(ModelError):
    """The provider answered with an error status.

    Attributes:
        status: The HTTP status.
        body: As it came.
        retry_after: The Retry-After header.
    """

    def __init__(self, *, status: int, body: str, retry_after: str | None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body
        self.retry_after = retry_after


class UnsendableRequest(ModelError):
    """The request cannot be put into the provider's words; nothing was sent."""


class NotConnected(ModelError):
    """The provider could not be reached; the request was not sent."""


class ConnectionBroken(ModelError):
    """The connection broke after the request began to be sent: it may have been billed."""


class UnreadableAnswer(ModelError):
    """The provider answered 200, and the body is not what its API promises.

    Attributes:
        body: As it came.
    """

    def __init__(self, message: str, *, body: str) -> None:
        super().__init__(message)
        self.body = body


Begin = Callable[[], Awaitable[None]]
"""Waits for leave to make a paid call, which begins when it returns. What it raises ends the call unsent."""


async def at_once() -> None:
    """Give leave to whoever needs none."""


class ModelClient(Protocol):
    """Calls a model."""

    async def analyze(self, request: ModelRequest, begin: Begin = at_once) -> ModelAnswer:
        """Make exactly one paid call, and no other. The caller bounds its time by cancelling it. Raises ModelError.

        `begin` is awaited once, when all is ready and nothing but the sending is left, on the loop of the caller: to
        put a request together takes time, in which leave that was given before would grow old.
        """
        ...


# --- images ---------------------------------------------------------------------------------------------------------


class ImageSourceAway(Exception):
    """The image cannot be fetched now."""


class ImageUnavailable(Exception):
    """The image cannot be had.

    Attributes:
        retryable: Whether it may be had later, or by another executor.
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class BadImage(Exception):
    """What was given as an image is none that a model could read.

    Attributes:
        sha256: Of its bytes; "" if there are none.
    """

    def __init__(self, message: str, *, sha256: str = "") -> None:
        super().__init__(message)
        self.sha256 = sha256


class ImageSource(Protocol):
    """Where images come from."""

    async def fetch(self, sha256: str, job_id: str) -> bytes:
        """Return an image of a job that this executor holds. Raises ImageSourceAway or ImageUnavailable."""
        ...


class UriSource(Protocol):
    """Where images come from that callers only point at."""

    async def fetch(self, uri: str) -> bytes:
        """Return what is there, within a time and a size. Raises BadImage or ImageUnavailable.

        No message tells of the address more than its host and path: the rest may be a secret.
        """
        ...


class ImagePreparer(Protocol):
    """Decodes images."""

    async def prepare(self, data: bytes) -> ModelImage:
        """Return what the model gets of an image that can be decoded, of the kind that it is.

        Raises:
            BadImage: It cannot be decoded.
            ImageUnavailable: No image can be decoded now.
        """
        ...


# --- the scheduler's stream -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who dials; `held` are the attempts from receipt of their assignment to the acknowledgement of their outcome."""

    executor_id: str
    host: str
    version: str
    capacity: int
    lanes: tuple[str, ...]
    held: Collection[AttemptId] = ()
    dial: int = 0


@dataclass(frozen=True, slots=True)
class Credit:
    """Free slots, and how many assignments of this stream they already account for."""

    free_slots: int
    assignments_received: int


@dataclass(frozen=True, slots=True)
class Progress:
    """An attempt enters a stage."""

    attempt_id: AttemptId
    stage: Stage
    time: datetime.datetime


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to begin one paid call, within `validity` from its receipt."""

    attempt_id: AttemptId
    validity: datetime.timedelta


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Proof of life; `held` is None unless this one lists what is held."""

    number: int
    held: Collection[AttemptId] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """What the executor says at once; the scheduler handles the fields in this order. Outcomes are encoded."""

    hello: Hello | None = None
    credit: Credit | None = None
    accepted: Sequence[AttemptId] = ()
    ready: Sequence[AttemptId] = ()
    progress: Sequence[Progress] = ()
    outcomes: Sequence[bytes] = ()
    withdrawn: Sequence[AttemptId] = ()
    heartbeat: Heartbeat | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The executor is known, and lost after this silence; `superseded` attempts were given to others meanwhile."""

    session: int
    heartbeat_interval: datetime.timedelta
    lost_after: datetime.timedelta
    superseded: Sequence[AttemptId] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Downlink:
    """What the scheduler says at once, in the order in which it is handled.

    Attributes:
        assignments: Work, never more than the credit.
        permits: Answers to those that said they are ready.
        acknowledged: Outcomes that are stored, or that nobody needs any more.
        cancels: Attempts to stop.
        withdraws: Attempts to give back if their paid call has not begun.
        echoed: The number of a heartbeat that is stored.
        drain: Why to take no more work; None if there is nothing to say.
    """

    welcome: Welcome | None = None
    assignments: Sequence[Assignment] = ()
    permits: Sequence[Permit] = ()
    acknowledged: Sequence[AttemptId] = ()
    cancels: Sequence[AttemptId] = ()
    withdraws: Sequence[AttemptId] = ()
    echoed: int | None = None
    drain: str | None = None


class LinkBroken(Exception):
    """The stream is over, or was never there; the message says why."""


class LinkRefused(LinkBroken):
    """The two are there and do not trust each other; to dial again at once would not help.

    Attributes:
        reason: UPPER_SNAKE; the same one each time for the same problem.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Link(Protocol):
    """One stream to a scheduler. One task sends, one receives."""

    @property
    def address(self) -> str:
        """Where it leads, for people."""
        ...

    async def send(self, message: Uplink) -> None:
        """Send all of it; returns when it is on its way. Raises LinkBroken."""
        ...

    async def receive(self) -> Downlink:
        """Wait for the next message. Raises LinkBroken."""
        ...


class Dialer(Protocol):
    """Knows where schedulers are."""

    def dial(self, turn: int) -> contextlib.AbstractAsyncContextManager[Link]:
        """Open a stream to the address whose turn it is; leaving the block closes it. Entering raises LinkBroken."""
        ...


# --- the spool ------------------------------------------------------------------------------------------------------


class OutcomeCodec(Protocol):
    """Turns outcomes into the bytes that are both spooled and sent."""

    def encode(self, outcome: Outcome) -> bytes: ...

    def attempt_id(self, record: bytes) -> AttemptId:
        """Return whose outcome a record is. Raises ValueError if it is none."""
        ...


class SpoolUnwritable(Exception):
    """Outcomes cannot be kept now; the message says why."""


class Spool(Protocol):
    """Keeps outcomes until they are acknowledged, also over the death of this process. One caller at a time."""

    async def open(self) -> Sequence[bytes]:
        """Get ready to write, and return what dead executors left behind; may be repeated. Raises SpoolUnwritable."""
        ...

    async def write(self, records: Sequence[tuple[AttemptId, bytes]], *, forget: Collection[AttemptId]) -> None:
        """Keep the records, which are durable when this returns, and let go of what is acknowledged.

        Raises:
            SpoolUnwritable: No record of this call is kept for sure.
        """
        ...

    async def check(self) -> None:
        """Prove that records can be written again. Raises SpoolUnwritable."""
        ...
