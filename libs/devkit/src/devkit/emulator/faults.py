"""One line of the script of faults: what it is, which calls it is aimed at, and how it is written as JSON."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devkit.emulator.fault_kinds import PROVIDERS, FaultKind, fields_of, providers_of

DEFAULT_RETRY_SECONDS = 30.0
DEFAULT_SLOW_SECONDS = 10.0

_MOST_SECONDS = 86_400
_MOST_BYTES = 1 << 30
_MOST_CHARACTERS = 1 << 20
_MOST_HEADERS = 20
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
_FRAMING_HEADERS = frozenset({"content-length", "transfer-encoding", "connection"})
_STATUSES_WITHOUT_BODY = (204, 304)
_DESCRIBING = (
    *("retry_seconds", "retry_delay", "seconds", "size_bytes", "served_model", "reason"),
    *("status", "body", "headers", "billed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultTarget:
    """A call as faults are aimed at it; the tier in lower case."""

    provider: str
    model: str
    prompt_sha256: str = ""
    service_tier: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One line of the script.

    Attributes:
        kind: What happens.
        count: How many calls are hit; None hits for ever.
        rate: The part of the calls that is hit.
        provider: Only its calls are hit, `gemini` or `deepseek`; "" hits those of all that can fail like that.
        model: Only its calls are hit; "" hits all.
        prompt_sha256: Only calls with this prompt, as the log of calls tells it; "" hits all.
        service_tier: Only calls that ask for this tier, as `flex`; "" hits all.
        retry_seconds: What the 429s name as the time to stay away.
        retry_delay: The same as raw text of RetryInfo.
        seconds: How much longer a slow call takes, or how long a trickling body.
        size_bytes: Of a huge body, or of a gzip bomb that went off.
        served_model: Who answers in the model's place.
        reason: Why it was blocked, or why it finished.
        status: Of a raw reply.
        body: Of a raw reply.
        headers: Of a raw reply.
        billed: Whether a raw reply is billed.
    """

    kind: FaultKind
    count: int | None = None
    rate: float = 1.0
    provider: str = ""
    model: str = ""
    prompt_sha256: str = ""
    service_tier: str = ""
    retry_seconds: float | None = None
    retry_delay: str | None = None
    seconds: float | None = None
    size_bytes: int | None = None
    served_model: str | None = None
    reason: str | None = None
    status: int | None = None
    body: str | None = None
    headers: Mapping[str, str] | None = field(default=None, hash=False)
    billed: bool | None = None

    def __post_init__(self) -> None:
        self._check_aim()
        self._check_meaning()
        for name in ("retry_seconds", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= _MOST_SECONDS:
                raise ValueError(f"{name} must be between 0 and {_MOST_SECONDS}")
        if self.size_bytes is not None and not 0 <= self.size_bytes <= _MOST_BYTES:
            raise ValueError(f"size_bytes must be between 0 and {_MOST_BYTES}")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError("status must be between 200 and 599")
        if self.status in _STATUSES_WITHOUT_BODY and self.body:
            raise ValueError(f"status {self.status} has no body")
        for name in ("body", "retry_delay", "reason", "served_model"):
            if len(getattr(self, name) or "") > _MOST_CHARACTERS:
                raise ValueError(f"{name} must have at most {_MOST_CHARACTERS} characters")
        _check_headers(self.headers or {})

    def _check_aim(self) -> None:
        if self.count is not None and self.count < 1:
            raise ValueError("count must be at least 1")
        if not 0 < self.rate <= 1:
            raise ValueError("rate must be over 0 and at most 1")
        if self.provider and self.provider not in providers_of(self.kind):
            raise ValueError(f"provider must be one of {', '.join(sorted(providers_of(self.kind)))} for {self.kind}")

    def _check_meaning(self) -> None:
        for name in _DESCRIBING:
            if getattr(self, name) is not None and name not in fields_of(self.kind):
                raise ValueError(f"{name} says nothing of the kind {self.kind}")
        if self.kind is FaultKind.REROUTED and not self.served_model:
            raise ValueError("rerouted needs a served_model")
        if self.kind is FaultKind.FINISH_REASON and not self.reason:
            raise ValueError("finish-reason needs a reason")

    def aims_at(self, target: FaultTarget) -> bool:
        return (
            target.provider in providers_of(self.kind)
            and self.provider in ("", target.provider)
            and self.model in ("", target.model)
            and self.prompt_sha256 in ("", target.prompt_sha256)
            and self.service_tier.lower() in ("", target.service_tier)
        )


def _check_headers(headers: Mapping[str, str]) -> None:
    if len(headers) > _MOST_HEADERS:
        raise ValueError(f"headers must be at most {_MOST_HEADERS}")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _FRAMING_HEADERS:
            raise ValueError(f"{name} is no header that a reply can have")
        if not value.isascii() or not value.isprintable():
            raise ValueError("headers must be texts of printable ASCII")


_NUMBER = (int, float)
_FIELD_TYPES: Mapping[str, tuple[type, ...]] = {
    "count": (int,),
    "rate": _NUMBER,
    "provider": (str,),
    "model": (str,),
    "prompt_sha256": (str,),
    "service_tier": (str,),
    "retry_seconds": _NUMBER,
    "retry_delay": (str,),
    "seconds": _NUMBER,
    "size_bytes": (int,),
    "served_model": (str,),
    "reason": (str,),
    "status": (int,),
    "body": (str,),
    "headers": (dict,),
    "billed": (bool,),
}


def read_fault(document: object) -> Fault:
    """Return the fault that a JSON document describes.

    Raises:
        ValueError: It describes none; the message says why.
    """
    if not isinstance(document, dict) or "kind" not in document:
        raise ValueError("a fault is an object with a kind")
    fields: dict[str, Any] = dict(document)
    kind = read_kind(fields.pop("kind"))
    if unknown := sorted(fields.keys() - _FIELD_TYPES.keys()):
        raise ValueError(f"a fault has no {unknown[0]}")
    wrong = [name for name, value in fields.items() if type(value) not in _FIELD_TYPES[name]]
    if wrong:
        raise ValueError(f"{wrong[0]} is of the wrong type")
    if not all(isinstance(value, str) for value in fields.get("headers", {}).values()):
        raise ValueError("headers are of the wrong type")
    if fields.get("provider", "") not in ("", *PROVIDERS):
        raise ValueError(f"provider must be one of {', '.join(sorted(PROVIDERS))}")
    return Fault(kind=kind, **fields)


def read_fault_option(text: str) -> Fault:
    """Return the fault of a `KIND=RATE`.

    Raises:
        ValueError: It is none; the message says why.
    """
    kind, _, rate = text.partition("=")
    try:
        number = float(rate)
    except ValueError:
        raise ValueError(f"{text} is not of the form KIND=RATE, as 503=0.1") from None
    return Fault(kind=read_kind(kind), rate=number)


def read_kind(value: object) -> FaultKind:
    """Return the kind of this name.

    Raises:
        ValueError: There is none.
    """
    try:
        return FaultKind(str(value))
    except ValueError:
        raise ValueError(f"{value} is no kind of fault; there are {', '.join(FaultKind)}") from None
