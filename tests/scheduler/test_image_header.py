import io
import struct
from pathlib import Path

import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scheduler.image_header import (
    ImageHeader,
    ImageLimits,
    ImageRefused,
    ImageTooLarge,
    MimeTypeMismatch,
    UnreadableImage,
    check_image,
    read_header,
)

SAMPLES = sorted(path for path in (Path(__file__).parents[2] / "samples").iterdir() if path.suffix in (".png", ".jpg"))
LIMITS = ImageLimits()
MEBIBYTE = 1024 * 1024


def encoded(kind: str, width: int = 128, height: int = 64, mode: str = "RGB", **options: object) -> bytes:
    image = Image.new(mode, (width, height), 127)
    if kind == "HEIC":
        pillow_heif.register_heif_opener()
        kind = "HEIF"
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">L4s", len(payload) + 8, kind) + payload


def rebranded(major: bytes, *compatible: bytes) -> bytes:
    """Return a HEIC whose file type box says something else."""
    heic = encoded("HEIC")
    rest = heic[int.from_bytes(heic[:4], "big") :]
    return box(b"ftyp", major + b"\0\0\0\0" + b"".join(compatible)) + rest


def png(width: int, height: int) -> bytes:
    """Return the first bytes of a PNG; a header is all that is read."""
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">L4sLL5B", 13, b"IHDR", width, height, 8, 2, 0, 0, 0)


HEADERS = {
    "image/png": encoded("PNG"),
    "image/jpeg": encoded("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
    "image/webp": encoded("WEBP"),
    "image/heic": encoded("HEIC"),
    "image/heif": rebranded(b"mif1", b"mif1", b"heic"),
}


def test_there_are_samples() -> None:
    assert {path.suffix for path in SAMPLES} == {".png", ".jpg"}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_sample_has_the_size_that_a_decoder_sees(path: Path) -> None:
    with Image.open(path) as decoded:
        width, height = decoded.size

    mime_type = {".png": "image/png", ".jpg": "image/jpeg"}[path.suffix]
    assert read_header(path.read_bytes()) == ImageHeader(mime_type=mime_type, width=width, height=height)


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (encoded("PNG", mode="L"), "image/png"),
        (encoded("JPEG", progressive=True), "image/jpeg"),
        (encoded("JPEG", mode="L"), "image/jpeg"),
        (encoded("WEBP"), "image/webp"),
        (encoded("WEBP", lossless=True), "image/webp"),
        (encoded("WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"), "image/webp"),
        (encoded("HEIC"), "image/heic"),
        (rebranded(b"heix", b"mif1", b"heix"), "image/heic"),
        (rebranded(b"hevc", b"msf1"), "image/heic"),
        (rebranded(b"mif1", b"heic", b"avif"), "image/heif"),
        (rebranded(b"mif1"), "image/heif"),
        (rebranded(b"msf1", b"hevc"), "image/heif"),
        (rebranded(b"heim", b"mif1"), "image/heif"),
        (rebranded(b"MiHB", b"mif1"), "image/heif"),
    ],
)
def test_every_kind_that_gemini_takes_is_read(data: bytes, mime_type: str) -> None:
    assert read_header(data) == ImageHeader(mime_type=mime_type, width=128, height=64)


def test_the_size_is_the_stored_one_whatever_the_rotation() -> None:
    rotated = Image.Exif()
    rotated[0x0112] = 6

    header = read_header(encoded("JPEG", exif=rotated.tobytes()))

    assert (header.width, header.height) == (128, 64)


def test_the_size_is_the_stored_one_whatever_is_cropped() -> None:
    header = read_header(encoded("HEIC", width=30, height=20))

    assert (header.width, header.height) == (64, 64)


def test_a_jpeg_behind_megabytes_of_metadata_is_read() -> None:
    jpeg = encoded("JPEG")
    metadata = (b"\xff\xe2\xff\xff" + b"\xff" * 65_533) * 300

    assert read_header(jpeg[:2] + metadata + jpeg[2:]).width == 128


@pytest.mark.parametrize(
    "data",
    [
        encoded("GIF", mode="L"),
        encoded("TIFF"),
        encoded("BMP"),
        encoded("AVIF"),
        encoded("JPEG2000"),
        encoded("PPM"),
        rebranded(b"avif", b"mif1", b"heic"),
        rebranded(b"mif1", b"avif", b"miaf"),
        rebranded(b"isom", b"mp42"),
        b'<?xml version="1.0"?><svg width="30" height="20"/>',
        b"%PDF-1.7",
        b"http://127.0.0.1/image.png",
        b"text",
    ],
)
def test_other_kinds_are_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage, match="is not a PNG, JPEG, WEBP, HEIC or HEIF image"):
        read_header(data)


def test_no_bytes_are_no_image() -> None:
    with pytest.raises(UnreadableImage, match="is empty"):
        read_header(b"")


@pytest.mark.parametrize(
    "data",
    [
        *(data[:20] for data in HEADERS.values()),
        b"\x89PNG\r\n\x1a\n" + b"IDAT" * 10,
        b"RIFF\0\0\0\0WEBPVP9 " + b"\0" * 40,
        b"\xff\xd8\xff\xd9" + encoded("JPEG")[2:],
    ],
)
def test_a_broken_header_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage, match="its header is broken or cut off"):
        read_header(data)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (0, 0)])
def test_an_image_without_pixels_is_refused(width: int, height: int) -> None:
    with pytest.raises(UnreadableImage, match="has no pixels"):
        read_header(png(width, height))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff" + b"\0" * (20 * MEBIBYTE),
        b"\xff\xd8\xff" + b"\xff" * (20 * MEBIBYTE),
        b"\xff\xd8" + b"\xff\xe0\0\x02" * (5 * MEBIBYTE),
        HEADERS["image/heic"][:24] + box(b"free", b"") * (2 * MEBIBYTE),
        box(b"ftyp", b"none\0\0\0\0" + b"none" * (5 * MEBIBYTE)),
        box(b"ftyp", b"heic\0\0\0\0")
        + box(b"meta", b"\0" * 4 + box(b"iprp", box(b"ipma", b"\0" * 4 + b"\xff" * 4 + b"\0" * (20 * MEBIBYTE)))),
    ],
)
def test_a_header_in_the_whole_of_a_file_is_refused(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    class CountingFile(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            reads.append(len(data))
            return data

    monkeypatch.setattr("scheduler.image_header.io.BytesIO", CountingFile)
    with pytest.raises(UnreadableImage):
        read_header(data)

    assert len(reads) <= 10_000
    assert sum(reads) <= 64 * 1024


@pytest.mark.parametrize(
    ("declared", "detected"),
    [
        ("", "image/png"),
        ("image/png", "image/png"),
        (" IMAGE/PNG ", "image/png"),
        ("image/jpg", "image/jpeg"),
        ("image/jpeg", "image/jpeg"),
        ("image/heic", "image/heif"),
        ("image/heif", "image/heic"),
    ],
)
def test_a_right_declaration_is_accepted_and_the_detected_type_returned(declared: str, detected: str) -> None:
    assert check_image(HEADERS[detected], declared, LIMITS).mime_type == detected


@pytest.mark.parametrize(
    ("declared", "detected"),
    [
        ("image/jpeg", "image/png"),
        ("image/gif", "image/png"),
        ("image/png", "image/heic"),
        ("image/heic", "image/webp"),
        ("png", "image/png"),
        ("application/octet-stream", "image/png"),
    ],
)
def test_a_wrong_declaration_is_refused(declared: str, detected: str) -> None:
    with pytest.raises(MimeTypeMismatch, match=f"is '{declared}', but the bytes are {detected}") as raised:
        check_image(HEADERS[detected], declared, LIMITS)

    assert raised.value.field == "mime_type"


@pytest.mark.parametrize(("width", "height"), [(16_384, 1), (1, 16_384), (10_000, 10_000), (1, 1)])
def test_an_image_at_a_limit_is_accepted(width: int, height: int) -> None:
    assert check_image(png(width, height), "", LIMITS) == ImageHeader(mime_type="image/png", width=width, height=height)


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (16_385, 1, "has 16,385 x 1 pixels; at most 16,384 are allowed on a side"),
        (1, 16_385, "at most 16,384 are allowed on a side"),
        (10_000, 10_001, "at most 100,000,000 are allowed in all"),
        (2**32 - 1, 2**32 - 1, "at most 16,384 are allowed on a side"),
    ],
)
def test_too_many_pixels_are_refused(width: int, height: int, reason: str) -> None:
    with pytest.raises(ImageTooLarge, match=reason) as raised:
        check_image(png(width, height), "", LIMITS)

    assert raised.value.field == "data"


def test_too_many_bytes_are_refused() -> None:
    full = png(1, 1).ljust(20 * MEBIBYTE, b"\0")

    assert check_image(full, "", LIMITS).width == 1
    with pytest.raises(ImageTooLarge, match="has 20,971,521 bytes; at most 20,971,520 are allowed"):
        check_image(full + b"\0", "", LIMITS)


def header_or_refusal(data: bytes, declared: str = "") -> ImageHeader | ImageRefused:
    try:
        return check_image(data, declared, LIMITS)
    except ImageRefused as refused:
        return refused


@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"\0\0\0\x18ftypheic"]),
    st.binary(max_size=200),
    st.text(max_size=20),
)
def test_any_bytes_are_read_or_refused_and_nothing_else(start: bytes, rest: bytes, declared: str) -> None:
    outcome = header_or_refusal(start + rest, declared)

    assert isinstance(outcome, ImageHeader) or str(outcome)


@given(st.sampled_from(sorted(HEADERS.values())), st.integers(0, 600))
def test_a_cut_header_is_read_or_refused_and_nothing_else(data: bytes, length: int) -> None:
    outcome = header_or_refusal(data[:length])

    assert isinstance(outcome, ImageRefused) or (outcome.width, outcome.height) == (128, 64)


@given(
    st.sampled_from(sorted(HEADERS.values())),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255) | st.binary(max_size=8)), min_size=1, max_size=6),
)
def test_a_damaged_header_is_read_or_refused(data: bytes, edits: list[tuple[int, int | bytes]]) -> None:
    damaged = bytearray(data)
    for at, edit in edits:
        if isinstance(edit, bytes):
            damaged[at:at] = edit
        elif at < len(damaged):
            damaged[at] = edit

    outcome = header_or_refusal(bytes(damaged))

    assert isinstance(outcome, ImageRefused) or min(outcome.width, outcome.height) >= 1
