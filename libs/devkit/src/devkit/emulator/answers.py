"""An answer before it is written in a provider's format; faults spoil it in this form."""

import enum
from dataclasses import dataclass

from devkit.emulator.ledger import BilledImage
from devkit.emulator.usage import Usage


class Shape(enum.Enum):
    """How much of an answer there is."""

    TEXT = enum.auto()
    THOUGHTS_ONLY = enum.auto()
    NO_PARTS = enum.auto()
    """Its content is there, and empty."""
    NO_CONTENT = enum.auto()
    """Only the reason why it ended."""
    NO_CANDIDATES = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a call is answered, before it is paid.

    Attributes:
        text: Of the answer.
        finish_reason: In the provider's words.
        images: As they will be billed.
        usage: In tokens.
        service_tier: As it is told.
        block_reason: Why the prompt was blocked; then there is no candidate.
        shape: How much of it there is.
        continuation_token: "" where the answer does not go on.
        tells_usage: Whether the usage is told.
        served_model: Who answered.
    """

    text: str
    finish_reason: str
    usage: Usage
    served_model: str
    images: tuple[BilledImage, ...] = ()
    service_tier: str = ""
    block_reason: str = ""
    shape: Shape = Shape.TEXT
    continuation_token: str = ""
    tells_usage: bool = True
