"""Reads what kind of image some bytes are, and how large, from their header alone.

Pixels are never decoded here: a hostile image costs the scheduler a bounded number of small reads and nothing else.

ImageRefused
├── UnreadableImage    not an image of a kind that Gemini takes, or a broken header
├── ImageTooLarge      in bytes or in pixels
└── MimeTypeMismatch   the bytes are another kind than was declared
"""

import io
from dataclasses import dataclass

import imagesize

_PNG = "image/png"
_JPEG = "image/jpeg"
_WEBP = "image/webp"
_HEIC = "image/heic"
_HEIF = "image/heif"

MIME_TYPES = (_PNG, _JPEG, _WEBP, _HEIC, _HEIF)

_ALIASES = {"image/jpg": _JPEG}
_HEVC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx")
_HEIF_BRANDS = (b"mif1", b"msf1", b"heim", b"heis", b"hevm", b"hevs")
_AVIF_BRANDS = (b"avif", b"avis")
_MOST_BRANDS = 64

# A JPEG of 20 MiB has some 320 full segments at 4 reads each; a HEIF of 1,000 tiles has a table of 8 kB.
_MOST_READS = 10_000
_MOST_BYTES_READ = 64 * 1024


class ImageRefused(Exception):
    """The image cannot be accepted.

    Attributes:
        field: The field of an image that is to blame: data or mime_type.
    """

    field = "data"


class UnreadableImage(ImageRefused):
    """The bytes are no image that Gemini takes, or not a whole header."""


class ImageTooLarge(ImageRefused):
    """The image is beyond a limit."""


class MimeTypeMismatch(ImageRefused):
    """The bytes are another kind of image than was declared."""

    field = "mime_type"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """What the header says; width and height are in pixels as stored, before rotation or cropping."""

    mime_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """What an image may be at most."""

    max_bytes: int = 20 * 1024 * 1024
    max_side: int = 16_384
    max_pixels: int = 100_000_000


def check_image(data: bytes, declared_mime_type: str, limits: ImageLimits) -> ImageHeader:
    """Return the header of an image within the limits.

    Args:
        data: The whole image.
        declared_mime_type: "" takes the detected one. HEIC and HEIF may stand for each other.
        limits: See ImageLimits.

    Raises:
        ImageRefused: One of its subclasses, with a message that can stand after the name of the field.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"has {len(data):,} bytes; at most {limits.max_bytes:,} are allowed")
    header = read_header(data)
    if not _declared_rightly(declared_mime_type, header.mime_type):
        raise MimeTypeMismatch(f"is {declared_mime_type[:100]!r}, but the bytes are {header.mime_type}")
    size = f"has {header.width:,} x {header.height:,} pixels"
    if max(header.width, header.height) > limits.max_side:
        raise ImageTooLarge(f"{size}; at most {limits.max_side:,} are allowed on a side")
    if header.width * header.height > limits.max_pixels:
        raise ImageTooLarge(f"{size}; at most {limits.max_pixels:,} are allowed in all")
    return header


def read_header(data: bytes) -> ImageHeader:
    """Return what the header says. Raises UnreadableImage."""
    mime_type = _detected(data)
    if mime_type is None:
        raise UnreadableImage("is empty" if not data else "is not a PNG, JPEG, WEBP, HEIC or HEIF image")
    # Any failure inside, that of the reader's meter included, comes out as (-1, -1).
    width, height = imagesize.get(_MeteredReader(data), exif_rotation=False)
    if width < 0 or height < 0:
        raise UnreadableImage(f"begins like {mime_type}, but its header is broken or cut off")
    if width == 0 or height == 0:
        raise UnreadableImage(f"has a header of {mime_type} that says it has no pixels")
    return ImageHeader(mime_type=mime_type, width=width, height=height)


def _detected(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _PNG
    if data.startswith(b"\xff\xd8\xff"):
        return _JPEG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _WEBP
    if data[4:8] == b"ftyp":
        return _detected_by_brands(data)
    return None


def _detected_by_brands(data: bytes) -> str | None:
    """Tell by the major brand, else by the compatible ones; AVIF lives in the same container and is not taken."""
    end = min(int.from_bytes(data[:4], "big"), 16 + 4 * _MOST_BRANDS)
    major = data[8:12]
    brands = [major, *(data[at : at + 4] for at in range(16, end, 4))]
    if major in _HEVC_BRANDS:
        return _HEIC
    has_hevc = any(brand in _HEVC_BRANDS for brand in brands)
    if major in _AVIF_BRANDS or (not has_hevc and any(brand in _AVIF_BRANDS for brand in brands)):
        return None
    return _HEIF if has_hevc or any(brand in _HEIF_BRANDS for brand in brands) else None


def canonical_type(declared: str) -> str | None:
    """Return the type that is meant by a declared one, None if it is none that Gemini takes."""
    named = declared.strip().lower()
    named = _ALIASES.get(named, named)
    return named if named in MIME_TYPES else None


def _declared_rightly(declared: str, detected: str) -> bool:
    if not declared.strip():
        return True
    named = canonical_type(declared)
    return named == detected or {named, detected} == {_HEIC, _HEIF}


class _MeteredReader:
    """A file over bytes that gives up after so many reads or bytes: what imagesize does grows with the file."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self._reads_left = _MOST_READS
        self._bytes_left = _MOST_BYTES_READ

    def read(self, size: int = -1) -> bytes:
        self._reads_left -= 1
        if self._reads_left < 0 or size < 0 or size > self._bytes_left:
            raise OSError("a header is not that long")
        self._bytes_left -= size
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)
