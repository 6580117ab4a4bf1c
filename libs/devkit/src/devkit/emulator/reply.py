"""What goes over the wire: an answer as JSON, or what a broken server sends in its place."""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass

from devkit.emulator.errors import ApiError
from devkit.emulator.ledger import BilledImage
from devkit.emulator.request import GenerateRequest
from devkit.emulator.usage import Usage

JSON = "application/json; charset=UTF-8"


class Ending(enum.Enum):
    """What becomes of the connection."""

    WHOLE = enum.auto()
    """The reply is sent whole."""
    CUT = enum.auto()
    """The connection closes in the middle of the body."""
    RESET = enum.auto()
    """The connection is reset in place of a reply."""
    SILENCE = enum.auto()
    """Nothing is sent until the caller goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One HTTP response; only of a WHOLE or CUT one anything is sent."""

    body: bytes = b""
    status: int = 200
    media_type: str = JSON
    ending: Ending = Ending.WHOLE

    @property
    def is_sent(self) -> bool:
        return self.ending in (Ending.WHOLE, Ending.CUT)

    @classmethod
    def of_error(cls, error: ApiError) -> "Reply":
        return cls(body=json.dumps(error.body()).encode(), status=error.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a call is answered, before it is paid; with a `block_reason` there is no candidate."""

    text: str
    finish_reason: str
    images: tuple[BilledImage, ...]
    usage: Usage
    block_reason: str = ""

    def as_response(self, request: GenerateRequest, *, model: str, response_id: str) -> Mapping[str, object]:
        """Return the GenerateContentResponse, as JSON."""
        return self._said(request) | {
            "usageMetadata": self.usage.as_metadata(request.service_tier),
            "modelVersion": f"{model}-emulator",
            "responseId": response_id,
        }

    def _said(self, request: GenerateRequest) -> dict[str, object]:
        if self.block_reason:
            return {"promptFeedback": {"blockReason": self.block_reason}}
        thoughts: list[dict[str, object]] = []
        if request.include_thoughts and self.usage.thoughts:
            thoughts.append({"text": "The emulator does not think; it counts pixels.", "thought": True})
        content = {"parts": [*thoughts, {"text": self.text}], "role": "model"}
        return {"candidates": [{"content": content, "finishReason": self.finish_reason, "index": 0}]}
