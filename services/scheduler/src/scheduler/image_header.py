"""What an image is, from its first bytes: the scheduler never decodes pixels.

Formats are those that Gemini takes: PNG, JPEG, WEBP, HEIC, HEIF.
"""

import io
from dataclasses import dataclass

import imagesize

_ALIASES = {"image/jpg": "image/jpeg"}
_MIME_TYPES = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")

# Brands of the ISO base media file format, ISO/IEC 23008-12 annex B; AVIF's are not among them.
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_HEIF_BRANDS = frozenset({b"mif1", b"msf1", b"mif2"})

# imagesize reads boxes and markers, never pixels; what it needs stands in front of the data in every sane file.
_HEADER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """How large an image may be."""

    max_bytes: int = 20 * 1024 * 1024
    max_side: int = 16_384
    max_pixels: int = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """What the header tells; sides in pixels."""

    mime_type: str
    width: int
    height: int


class ImageRefused(Exception):
    """An image is refused; the message is for people. `field` is what is wrong: "data" or "mime_type"."""

    def __init__(self, message: str, *, field: str = "data") -> None:
        super().__init__(message)
        self.field = field


def check_image(data: bytes, declared_mime_type: str, limits: ImageLimits) -> ImageHeader:
    """Return the header of an image that is fit to be sent.

    Args:
        data: The whole file.
        declared_mime_type: What the caller says it is; "" takes what the bytes say.
        limits: How large it may be.

    Raises:
        ImageRefused: It is not.
    """
    if len(data) > limits.max_bytes:
        raise ImageRefused(f"has more than {limits.max_bytes} bytes")
    declared = _ALIASES.get(declared_mime_type.lower(), declared_mime_type.lower())
    if declared and declared not in _MIME_TYPES:
        raise ImageRefused(f"{declared_mime_type!r} is not one of {', '.join(_MIME_TYPES)}", field="mime_type")
    header = read_header(data)
    if declared and not _same_type(declared, header.mime_type):
        raise ImageRefused(f"is {declared}, but the bytes are {header.mime_type}", field="mime_type")
    if max(header.width, header.height) > limits.max_side:
        raise ImageRefused(f"is {header.width}x{header.height}; at most {limits.max_side} pixels a side are allowed")
    if header.width * header.height > limits.max_pixels:
        raise ImageRefused(f"has {header.width * header.height} pixels; at most {limits.max_pixels} are allowed")
    return header


def read_header(data: bytes) -> ImageHeader:
    """Return what the first bytes tell. Raises ImageRefused if they are not an image's."""
    mime_type = _sniff(data)
    if mime_type is None:
        raise ImageRefused("is not a PNG, JPEG, WEBP, HEIC or HEIF image")
    try:
        width, height = imagesize.get(io.BytesIO(data[:_HEADER_BYTES]))
    except Exception:  # noqa: BLE001 - a parser that meets hostile bytes; whatever it says, the header is unreadable
        width, height = -1, -1
    if width < 1 or height < 1:
        raise ImageRefused("has an unreadable header")
    return ImageHeader(mime_type=mime_type, width=int(width), height=int(height))


def _sniff(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return _sniff_heif(data)
    return None


def _sniff_heif(data: bytes) -> str | None:
    brand = data[8:12]
    if brand in _HEIC_BRANDS:
        return "image/heic"
    if brand in _HEIF_BRANDS:
        # A general brand: the compatible ones say what the pixels are coded in.
        size = min(int.from_bytes(data[:4], "big"), 256)
        compatible = {data[start : start + 4] for start in range(16, size, 4)}
        if b"avif" in compatible and not compatible & _HEIC_BRANDS:
            return None
        return "image/heif"
    return None


def _same_type(declared: str, found: str) -> bool:
    heif = {"image/heic", "image/heif"}
    return declared == found or {declared, found} <= heif
