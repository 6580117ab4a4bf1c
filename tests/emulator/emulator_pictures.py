"""Small images, drawn and encoded for a test."""

import io
import struct
import zlib

from PIL import Image
from pillow_heif import HeifFile, from_pillow

ENCODINGS = ("image/png", "image/jpeg", "image/webp", "image/heic")


def drawn(*, dot: int = 0) -> Image.Image:
    """Return a small reddish image; `dot` is the blue of its one odd pixel."""
    image = Image.new("RGB", (64, 48), (163, 59, 33))
    image.putpixel((31, 17), (163, 59, dot))
    return image


def encoded(image: Image.Image, mime_type: str = "image/png") -> bytes:
    out = io.BytesIO()
    if mime_type in ("image/heic", "image/heif"):
        heif: HeifFile = from_pillow(image)
        heif.save(out, quality=-1)
    else:
        image.save(out, mime_type.removeprefix("image/"), lossless=True)
    return out.getvalue()


def black_png(width: int, height: int) -> bytes:
    """Return a sound PNG of one bit a pixel: few bytes for many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
