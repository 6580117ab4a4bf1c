"""Images decoded to the last pixel: what they show as far as arithmetic can tell, and a hash of the pixels.

Decoders are chosen by the magic bytes and called by name, so that no other format of Pillow's can be reached.
"""

import asyncio
import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile

from devkit.emulator import errors

MAX_PIXELS = 100_000_000

_DECODERS: Mapping[str, Callable[[io.BytesIO], ImageFile]] = {
    "image/png": PngImageFile,
    "image/jpeg": JpegImageFile,
    "image/webp": WebPImageFile,
    "image/heic": HeifImageFile,
    "image/heif": HeifImageFile,
}
_HEIF_TYPES = frozenset({"image/heic", "image/heif"})
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"}
)
_CACHED_IMAGES = 1024
_SMALL_FILE_BYTES = 1 << 20
_DECODED_AT_ONCE = 2
_SWATCH = (32, 32)
_COLOURS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """What the pixels of an image tell.

    Attributes:
        sha256: Of the pixels, not of the file: the same picture in another lossless coding has the same.
        width: In pixels.
        height: In pixels.
        colours: `#rrggbb`, the most frequent first.
        brightness: 0 is black, 1 is white.
    """

    sha256: str
    width: int
    height: int
    colours: tuple[str, ...]
    brightness: float


class PixelReader:
    """Reads images in threads, and remembers the last ones by the hash of their bytes."""

    def __init__(self) -> None:
        self._cache: OrderedDict[str, Pixels] = OrderedDict()
        self._turns = asyncio.Semaphore(_DECODED_AT_ONCE)

    async def sha256(self, data: bytes) -> str:
        """Return the hash of a file; of a large one without keeping others waiting."""
        if len(data) <= _SMALL_FILE_BYTES:
            return hashlib.sha256(data).hexdigest()
        return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()

    async def read(self, data: bytes, mime_type: str, sha256: str) -> Pixels:
        """Return what an image tells.

        Args:
            data: The file.
            mime_type: What the caller says it is.
            sha256: Of the file.

        Raises:
            ApiError: It is of a type that Gemini does not take, not what it is said to be, or cannot be decoded.
        """
        found = _checked_type(data, mime_type)
        if sha256 in self._cache:
            self._cache.move_to_end(sha256)
            return self._cache[sha256]
        async with self._turns:
            pixels = await asyncio.to_thread(_analysed, data, found)
        self._cache[sha256] = pixels
        if len(self._cache) > _CACHED_IMAGES:
            self._cache.popitem(last=False)
        return pixels


def _checked_type(data: bytes, mime_type: str) -> str:
    declared = mime_type.lower()
    if declared not in _DECODERS:
        raise errors.unsupported_mime_type(mime_type)
    found = _sniffed_type(data)
    if found is None:
        raise errors.unreadable_image()
    # HEIC is a HEIF; which of the two a file is called is a matter of taste.
    if declared != found and not {declared, found} <= _HEIF_TYPES:
        raise errors.mislabelled_image()
    return found


def _sniffed_type(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "image/heif"
    return None


def _analysed(data: bytes, mime_type: str) -> Pixels:
    try:
        with _DECODERS[mime_type](io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise errors.unreadable_image()
            image.load()
            return _pixels(image)
    except errors.ApiError:
        raise
    except Exception as error:
        # A decoder that meets hostile bytes: whatever it says, they are unreadable.
        raise errors.unreadable_image() from error


def _pixels(image: Image.Image) -> Pixels:
    if image.mode == "P":
        # Palette indices are no colours.
        image = image.convert("RGBA")
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height} ".encode())
    digest.update(image.tobytes())
    swatch = image.resize(_SWATCH, Image.Resampling.BOX).convert("RGB")
    grey = swatch.convert("L").tobytes()
    return Pixels(
        sha256=digest.hexdigest(),
        width=image.width,
        height=image.height,
        colours=_dominant_colours(swatch),
        brightness=sum(grey) / len(grey) / 255,
    )


def _dominant_colours(swatch: Image.Image) -> tuple[str, ...]:
    reduced = swatch.quantize(_COLOURS)
    palette = reduced.getpalette() or []
    indices = reduced.tobytes()
    ranked = sorted(set(indices), key=indices.count, reverse=True)
    return tuple("#{:02x}{:02x}{:02x}".format(*palette[3 * index : 3 * index + 3]) for index in ranked)
