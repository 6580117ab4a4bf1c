"""The calls that were billed: what the provider would put on the invoice, so that a double charge cannot hide."""

import datetime
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from devkit.emulator.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledImage:
    """An image of a billed call: hashes of the file and of its pixels; sides in pixels."""

    sha256: str
    pixels_sha256: str
    mime_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledCall:
    """One entry.

    Attributes:
        call_number: In the log of calls.
        start_time: When the call had arrived.
        time: When it was billed.
        api_version: `v1` or `v1beta`.
        model: As it was asked for.
        response_id: What the caller was told.
        finish_reason: `STOP`, `MAX_TOKENS`, or "" for a blocked prompt.
        prompt_sha256: Of all texts of `contents`, one a line: of the prompt alone where it is the only text.
        images: In the order they were sent.
        usage: In tokens.
    """

    call_number: int
    start_time: datetime.datetime
    time: datetime.datetime
    api_version: str
    model: str
    response_id: str
    finish_reason: str
    prompt_sha256: str
    images: tuple[BilledImage, ...]
    usage: Usage


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


def _as_json(call: BilledCall) -> Mapping[str, object]:
    tokens = asdict(call.usage) | {"prompt": call.usage.prompt, "total": call.usage.total}
    return {
        "call_number": call.call_number,
        "start_time": call.start_time.isoformat(),
        "time": call.time.isoformat(),
        "api_version": call.api_version,
        "model": call.model,
        "response_id": call.response_id,
        "finish_reason": call.finish_reason,
        "prompt_sha256": call.prompt_sha256,
        "images": [asdict(image) for image in call.images],
        "tokens": tokens,
    }
