"""What goes over the wire: a body and its head, and what becomes of the connection."""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from devkit.emulator.refused import Refused

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


class Fate(enum.StrEnum):
    """What became of a reply, as far as the server can know."""

    WHOLE = "whole"
    """All of it was sent to a caller that was there."""
    CUT = "cut"
    """A part of it was sent."""
    RESET = "reset"
    """The connection was reset in its place."""
    UNREAD = "unread"
    """The caller had gone before anything was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One HTTP response; only of a WHOLE or CUT one anything is sent.

    Attributes:
        body: Without its padding.
        status: Of HTTP.
        media_type: Of the body.
        headers: Beside type and length.
        padding_bytes: How many blanks stand in the body after its first byte; they are never held in memory together.
        gzipped: Whether the body goes out compressed.
        trickle_seconds: How long the body takes, in small pieces; 0 sends it at once.
        ending: What becomes of the connection.
    """

    body: bytes = b""
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    padding_bytes: int = 0
    gzipped: bool = False
    trickle_seconds: float = 0.0
    ending: Ending = Ending.WHOLE

    @property
    def is_sent(self) -> bool:
        return self.ending in (Ending.WHOLE, Ending.CUT)

    @classmethod
    def of_error(cls, error: Refused) -> Self:
        return cls(body=json.dumps(error.document).encode(), status=error.code, headers=error.headers)
