"""What an answer is made of: what the pixels tell, and a seed that one changed pixel changes.

Without an image the text takes the pixels' place.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from devkit.emulator.pixels import Pixels

_BRIGHTNESS_WORDS = ("very dark", "rather dark", "neither dark nor bright", "rather bright", "very bright")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an answer is about.

    Attributes:
        description: For people.
        brightness: 0 is black, 1 is white; of the first image.
        seed: Of everything that is drawn.
    """

    description: str
    brightness: float
    seed: bytes

    def draw(self, purpose: str) -> int:
        """Return 64 bits that are this subject's and this purpose's."""
        return int.from_bytes(self._digest(purpose)[:8], "big")

    def mark(self, purpose: str) -> str:
        """Return 64 hexadecimal digits that are this subject's and this purpose's."""
        return self._digest(purpose).hex()

    def _digest(self, purpose: str) -> bytes:
        return hashlib.sha256(self.seed + purpose.encode(errors="surrogatepass")).digest()


def subject_of(prompt: str, images: Sequence[Pixels]) -> Subject:
    """Return what the answer to a prompt on these images is about."""
    if not images:
        seed = hashlib.sha256(prompt.encode(errors="surrogatepass")).digest()
        return Subject(description="no image", brightness=0.5, seed=seed)
    seed = hashlib.sha256(b"".join(bytes.fromhex(image.sha256) for image in images)).digest()
    first = images[0]
    count = "" if len(images) == 1 else f", the first of {len(images)}"
    word = _BRIGHTNESS_WORDS[min(int(first.brightness * len(_BRIGHTNESS_WORDS)), len(_BRIGHTNESS_WORDS) - 1)]
    description = f"{first.width}x{first.height} image{count}, mostly {first.colours[0]}, {word}"
    return Subject(description=description, brightness=first.brightness, seed=seed)
