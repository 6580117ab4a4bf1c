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


def png_that_claims(width: int, height: int) -> bytes:
    """Return a PNG whose header promises more pixels than its data has."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
