"""The calls that were billed: what the provider would put on the invoice, so that a double charge cannot hide."""

import datetime
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from devkit.emulator.reply import Fate
from devkit.emulator.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledImage:
    """An image of a billed call: hashes of the file and of its pixels; sides in pixels."""

    sha256: str
    pixels_sha256: str
    mime_type: str
    width: int
    height: int


@dataclass(slots=True, kw_only=True)
class BilledCall:
    """One entry; its fate is added when its reply has been sent.

    Attributes:
        call_number: In the log of calls.
        start_time: When the call had arrived.
        time: When it was billed.
        provider: `gemini` or `deepseek`.
        api_version: `v1` or `v1beta`; of DeepSeek "" or `v1`.
        model: As it was asked for.
        served_model: Who answered, and is billed.
        service_tier: As it was asked for.
        response_id: What the caller was told.
        finish_reason: Why the answer ended; "" for a blocked prompt.
        prompt_sha256: As in the log of calls.
        fault: The scripted fault that hit it, "" if none did.
        images: In the order they were sent.
        usage: In tokens.
        fate: What became of the reply; None while it is sent.
    """

    call_number: int
    start_time: datetime.datetime
    time: datetime.datetime
    provider: str
    api_version: str
    model: str
    served_model: str
    service_tier: str
    response_id: str
    finish_reason: str
    prompt_sha256: str
    fault: str
    images: tuple[BilledImage, ...]
    usage: Usage
    fate: Fate | None = None

    @property
    def delivered(self) -> bool:
        """Whether a caller got the whole reply: what is billed and not delivered was paid for nothing."""
        return self.fate is Fate.WHOLE


class Ledger:
    """Every billed call since the start, or since it was cleared; nothing is dropped by itself."""

    def __init__(self) -> None:
        self._calls: list[BilledCall] = []

    def bill(self, call: BilledCall) -> None:
        self._calls.append(call)

    def clear(self) -> None:
        self._calls.clear()

    @property
    def count(self) -> int:
        return len(self._calls)

    def as_json(self) -> dict[str, object]:
        """Return the whole ledger, oldest call first."""
        return {"calls": [_as_json(call) for call in self._calls]}

    def summary(self) -> dict[str, object]:
        """Return counts and tokens: of all, and by provider, model, tier and fate."""
        groups: defaultdict[tuple[str, str, str, str], list[BilledCall]] = defaultdict(list)
        for call in self._calls:
            groups[call.provider, call.model, call.service_tier, _told_fate(call)].append(call)
        names = ("provider", "model", "service_tier", "fate")
        rows = [dict(zip(names, key, strict=True)) | _sums(calls) for key, calls in sorted(groups.items())]
        undelivered = sum(not call.delivered for call in self._calls)
        return _sums(self._calls) | {"undelivered": undelivered, "rows": rows}


def _sums(calls: list[BilledCall]) -> dict[str, object]:
    tokens: defaultdict[str, int] = defaultdict(int)
    for call in calls:
        for name, count in _tokens(call.usage).items():
            tokens[name] += count
    return {"count": len(calls), "tokens": dict(tokens)}


def _tokens(usage: Usage) -> dict[str, int]:
    return asdict(usage) | {"prompt": usage.prompt, "total": usage.total}


def _told_fate(call: BilledCall) -> str:
    return "" if call.fate is None else call.fate


def _as_json(call: BilledCall) -> Mapping[str, object]:
    return {
        "call_number": call.call_number,
        "start_time": call.start_time.isoformat(),
        "time": call.time.isoformat(),
        "provider": call.provider,
        "api_version": call.api_version,
        "model": call.model,
        "served_model": call.served_model,
        "service_tier": call.service_tier,
        "response_id": call.response_id,
        "finish_reason": call.finish_reason,
        "prompt_sha256": call.prompt_sha256,
        "fault": call.fault,
        "images": [asdict(image) for image in call.images],
        "tokens": _tokens(call.usage),
        "fate": _told_fate(call),
        "delivered": call.delivered,
    }
