"""Small real images of every kind, as cameras and programs write them."""

import functools
import io
import struct
import zlib
from pathlib import Path

import pillow_heif
from PIL import ExifTags, Image, ImageCms

SAMPLES = Path(__file__).parents[2] / "samples"

FORMATS = ("PNG", "JPEG", "WEBP", "HEIF")
MIME_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "HEIF": "image/heic"}


@functools.cache
def photograph() -> Image.Image:
    """Return a photograph of 60 x 40 pixels."""
    with Image.open(SAMPLES / "coffee.png") as image:
        return image.convert("RGB").resize((60, 40))


def encoded(
    image: Image.Image, file_format: str, *, orientation: int | None = None, profile: bool = False, **options: object
) -> bytes:
    """Return a file, with an EXIF orientation and a color profile if asked for."""
    pillow_heif.register_heif_opener()
    if orientation is not None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        exif[ExifTags.Base.Make] = "Camera"
        options["exif"] = exif
    if profile:
        options["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


@functools.cache
def picture(file_format: str) -> bytes:
    """Return the photograph as a file."""
    return encoded(photograph(), file_format)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def png_of(width: int, height: int, *, pixels: bytes, bits: int = 8, interlaced: bool = False) -> bytes:
    """Return a gray PNG whose header says this size, whatever pixels it has."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND", b"")


def interlaced_png(width: int, height: int, *, bits: int, lacking: int = 0) -> bytes:
    """Return a black one, counted pixel by pixel: each in the pass that the table of the standard gives it."""
    table = ("16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777")
    lines: dict[tuple[str, int], int] = {}
    for y in range(height):
        for x in range(width):
            line = table[y % 8][x % 8], y
            lines[line] = lines.get(line, 0) + 1
    size = sum(1 + (pixels * bits + 7) // 8 for pixels in lines.values())
    return png_of(width, height, pixels=bytes(size - lacking), bits=bits, interlaced=True)
