"""Randomness as a port, so that a seeded run can be repeated."""

import secrets
from typing import Protocol


class Randomness(Protocol):
    """Draws numbers and identifiers."""

    def draw(self) -> float:
        """Return a number in [0, 1)."""
        ...

    def token(self, size: int) -> bytes:
        """Return this many random bytes."""
        ...


class SystemRandomness:
    """The operating system's generator."""

    def draw(self) -> float:
        return secrets.randbits(53) / (1 << 53)

    def token(self, size: int) -> bytes:
        return secrets.token_bytes(size)
