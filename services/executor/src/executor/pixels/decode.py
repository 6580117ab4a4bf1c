"""Decodes one image wholly, and makes another of it where it stands askew or is too large. Runs in workers only.

Of an image with several frames or pictures the first, or the one that its file calls the primary, counts.
"""

import io
import warnings

from PIL import ExifTags, Image, ImageOps, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError, WebPImagePlugin

from executor.pixels import kinds, png
from executor.pixels.frames import MAX_NEW_BYTES, Reply

MAX_SIDE = 16_384
MAX_PIXELS = 100_000_000

_PLUGINS = {
    kinds.PNG: PngImagePlugin.PngImageFile.format,
    kinds.JPEG: JpegImagePlugin.JpegImageFile.format,
    kinds.WEBP: WebPImagePlugin.WebPImageFile.format,
    kinds.HEIC: "HEIF",
    kinds.HEIF: "HEIF",
}
_UPRIGHT = 1
_ORIENTATIONS = range(2, 9)

# The first that makes a file of no more than this is taken: an image of 20 MiB may grow, but not without end.
_JPEG_QUALITIES = ({"quality": 95, "subsampling": "4:4:4"}, {"quality": 85, "subsampling": "4:2:0"})
_ROOMY_BYTES = 20 * 1024 * 1024


class Unreadable(Exception):
    """The image is refused; the message is a sentence."""


def prepare(data: bytes, *, max_side: int) -> Reply:
    """Decode an image.

    Args:
        data: Any bytes.
        max_side: An image that is longer on a side is made smaller; 0 leaves all of them.

    Raises:
        Unreadable: It is not one of the five kinds, too large, or broken.
        MemoryError: This process has too little memory for it.
    """
    kind = kinds.kind_of(data)
    if kind is None:
        raise Unreadable("The image is empty." if not data else "It is not a PNG, JPEG, WEBP, HEIC or HEIF image.")
    try:
        return _prepared(data, kind, max_side)
    except (Unreadable, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - decoders meet hostile bytes with exceptions of every kind
        raise Unreadable(f"It begins like {kind}, and cannot be decoded: {_words(error)}.") from None


def _prepared(data: bytes, kind: str, max_side: int) -> Reply:
    image = _opened(data, kind)
    if kind == kinds.PNG:
        png.check(data)
    askew = kind in (kinds.PNG, kinds.JPEG, kinds.WEBP) and _orientation(image) in _ORIENTATIONS
    oversize = 0 < max_side < max(image.size)
    if not askew and not oversize:
        _decode(image)
        return Reply(mime_type=kind)
    if oversize:
        # First: less to turn.
        image = _smaller(image, max_side)
        kind = kinds.JPEG if kind in (kinds.HEIC, kinds.HEIF) else kind
    if askew:
        image = ImageOps.exif_transpose(image)
    return Reply(mime_type=kind, new_data=_encoded(image, kind))


def _opened(data: bytes, kind: str) -> Image.Image:
    """Read the header. Raises Unreadable for an image that is too large, before there is any memory for its pixels."""
    if kind in (kinds.HEIC, kinds.HEIF):
        _register_heif()
    with warnings.catch_warnings():
        # Of what is odd in a file, and of the size, which is looked at here.
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(data), formats=[_PLUGINS[kind]])
    width, height = image.size
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise Unreadable(
            f"It has {width:,} x {height:,} pixels; at most {MAX_SIDE:,} are allowed on a side, and {MAX_PIXELS:,} in all."
        )
    return image


def _register_heif() -> None:
    # Imported here: most workers never see one, and its libraries take memory.
    import pillow_heif  # noqa: PLC0415 - see above

    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)


def _orientation(image: Image.Image) -> int:
    """Return what EXIF says. XMP's word does not count, and what cannot be read says nothing."""
    for key in ("xmp", "XML:com.adobe.xmp"):
        image.info.pop(key, None)
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - as in `prepare`
        return _UPRIGHT
    return found if isinstance(found, int) else _UPRIGHT


def _decode(image: Image.Image) -> None:
    # A JPEG's colors are not put together where only its soundness matters: that takes a quarter of the memory.
    image.draft("L", None)
    image.load()


def _smaller(image: Image.Image, max_side: int) -> Image.Image:
    if image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK") or image.has_transparency_data:
        image = _in_true_color(image)
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


def _in_true_color(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode.startswith("I"):
        # 16 bits of gray.
        return image.convert("I").point(lambda value: value / 256).convert("L")
    return image.convert("L" if image.mode == "1" else "RGB")


def _encoded(image: Image.Image, kind: str) -> bytes:
    """Write the image anew, with its color profile and without any other metadata."""
    kept = {key: image.info[key] for key in ("icc_profile", "transparency") if key in image.info}
    image.info = {}
    if kind == kinds.JPEG:
        kept.pop("transparency", None)
        flat = _without_alpha(image)
        data = b""
        for quality in _JPEG_QUALITIES:
            data = _saved(flat, "JPEG", **quality, **kept)
            if len(data) <= _ROOMY_BYTES:
                break
    elif kind == kinds.PNG:
        data = _saved(image, "PNG", **kept)
    else:
        kept.pop("transparency", None)
        data = _saved(image, "WEBP", quality=95, **kept)
    if len(data) > MAX_NEW_BYTES:
        raise Unreadable(f"Turned upright or made smaller, it would have {len(data):,} bytes.")
    return data


def _without_alpha(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def _saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def _words(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its header is broken or cut off"
    words = " ".join(str(error).split())[:200].rstrip(".")
    return words or type(error).__name__
