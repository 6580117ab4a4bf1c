"""Which of the five kinds of image some bytes begin like. What they are is for a decoder to say."""

PNG = "image/png"
JPEG = "image/jpeg"
WEBP = "image/webp"
HEIC = "image/heic"
HEIF = "image/heif"

ALL = (PNG, JPEG, WEBP, HEIC, HEIF)

_HEVC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx")
_HEIF_BRANDS = (b"mif1", b"msf1", b"heim", b"heis", b"hevm", b"hevs")
_AVIF_BRANDS = (b"avif", b"avis")
_MOST_BRANDS = 64


def kind_of(data: bytes) -> str | None:
    """Return a MIME type; None for anything but the five."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WEBP
    if data[4:8] == b"ftyp":
        return _kind_by_brands(data)
    return None


def _kind_by_brands(data: bytes) -> str | None:
    """Tell by the major brand, else by the compatible ones; AVIF lives in the same container and is not taken."""
    end = min(int.from_bytes(data[:4], "big"), 16 + 4 * _MOST_BRANDS)
    major = data[8:12]
    brands = [major, *(data[at : at + 4] for at in range(16, end, 4))]
    if major in _HEVC_BRANDS:
        return HEIC
    has_hevc = any(brand in _HEVC_BRANDS for brand in brands)
    if major in _AVIF_BRANDS or (not has_hevc and any(brand in _AVIF_BRANDS for brand in brands)):
        return None
    return HEIF if has_hevc or any(brand in _HEIF_BRANDS for brand in brands) else None
