"""What a worker makes of an image, in this process."""

import io
import struct
import zlib

import pytest
from pictures import FORMATS, MIME_TYPES, encoded, interlaced_png, opened, photograph, picture, png_of
from PIL import Image, ImageChops

from executor.pixels import decode
from executor.pixels.frames import Reply


@pytest.fixture(autouse=True)
def _no_bound_of_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a worker.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)


def prepared(data: bytes, *, max_side: int = 0) -> Reply:
    return decode.prepare(data, max_side=max_side)


def remade(data: bytes, *, max_side: int = 0) -> Image.Image:
    reply = prepared(data, max_side=max_side)
    assert reply.new_data is not None
    image = opened(reply.new_data)
    assert Image.MIME[image.format or ""] == reply.mime_type
    return image


def refusal(data: bytes) -> str:
    with pytest.raises(decode.Unreadable) as refused:
        prepared(data)
    return str(refused.value)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return how much two images differ on average, of 255."""
    assert one.size == other.size
    values = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).convert("L").tobytes()
    return sum(values) / len(values)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_sound_image_stays_as_it_is_and_is_called_what_it_is(file_format: str) -> None:
    assert prepared(picture(file_format)) == Reply(mime_type=MIME_TYPES[file_format])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_png_of_any_mode_is_sound(mode: str) -> None:
    image = photograph().convert("L").convert("I;16") if mode == "I;16" else photograph().convert(mode)

    assert prepared(encoded(image, "PNG")) == Reply(mime_type="image/png")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (60, 40)])
def test_an_interlaced_png_is_sound(bits: int, size: tuple[int, int]) -> None:
    assert prepared(interlaced_png(*size, bits=bits)) == Reply(mime_type="image/png")


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (60, 40)])
def test_an_interlaced_png_that_lacks_a_byte_is_refused(size: tuple[int, int]) -> None:
    assert "fewer pixels" in refusal(interlaced_png(*size, bits=8, lacking=1))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_any_mode_is_sound(mode: str, progressive: bool) -> None:
    data = encoded(photograph().convert(mode), "JPEG", progressive=progressive)

    assert prepared(data) == Reply(mime_type="image/jpeg")


@pytest.mark.parametrize("brand", [b"mif1", b"msf1", b"heis"])
def test_a_heif_that_names_no_hevc_first_is_called_heif(brand: bytes) -> None:
    data = picture("HEIF")

    assert prepared(data[:8] + brand + data[12:]).mime_type == "image/heif"


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_an_image_that_is_cut_off_is_refused_with_a_sentence(file_format: str, part: float) -> None:
    data = encoded(photograph().resize((300, 200)), file_format)

    words = refusal(data[: int(len(data) * part)])

    assert words.startswith(f"It begins like {MIME_TYPES[file_format]}, and cannot be decoded: ")
    assert words.endswith(".")
    assert "object at 0x" not in words


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "The image is empty."),
        (b"not an image", "It is not a PNG, JPEG, WEBP, HEIC or HEIF image."),
        (b"GIF89a" + bytes(20), "It is not a PNG, JPEG, WEBP, HEIC or HEIF image."),
        (b"BM" + bytes(60), "It is not a PNG, JPEG, WEBP, HEIC or HEIF image."),
        (b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00mif1heic", "It is not a PNG, JPEG, WEBP, HEIC or HEIF image."),
    ],
)
def test_anything_but_the_five_kinds_is_refused(data: bytes, words: str) -> None:
    assert refusal(data) == words


@pytest.mark.parametrize(("width", "height"), [(16_385, 1), (1, 16_385), (10_001, 10_000), (2**31 - 1, 2**31 - 1)])
def test_an_image_that_is_too_large_is_refused_before_its_pixels_are_looked_at(width: int, height: int) -> None:
    assert f"{width:,} x {height:,} pixels" in refusal(png_of(width, height, pixels=b""))


def test_a_header_that_promises_more_pixels_than_there_are_is_refused() -> None:
    assert "fewer pixels than its header says" in refusal(png_of(5_000, 5_000, pixels=bytes(5_001)))


def test_a_png_whose_second_half_came_as_zeros_is_refused() -> None:
    data = encoded(Image.effect_noise((300, 200), 90), "PNG")
    half = len(data) // 2

    assert "IDAT does not match its checksum" in refusal(data[:half] + bytes(len(data) - half))


def test_a_png_whose_pixels_were_changed_with_the_chunks_checksum_is_refused() -> None:
    pixels = bytearray(zlib.compress(bytes(10 * 11)))
    pixels[-1] ^= 1
    sound = png_of(10, 10, pixels=bytes(10 * 11))
    at = sound.index(b"IDAT")
    body = b"IDAT" + pixels
    data = sound[: at - 4] + struct.pack(">I", len(pixels)) + body + struct.pack(">I", zlib.crc32(body))

    assert "its pixels do not match their checksum" in refusal(data)


def test_pixels_that_unpack_to_gigabytes_take_no_memory() -> None:
    # 200 MB behind a header of one pixel.
    assert prepared(png_of(1, 1, pixels=bytes(200_000_000))) == Reply(mime_type="image/png")


def test_a_text_that_unpacks_to_gigabytes_is_refused() -> None:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(128)) + packer.flush()
    text = b"zTXt" + b"Comment\0\0" + packed
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    data = picture("PNG")

    assert "cannot be decoded" in refusal(data[:33] + chunk + data[33:])


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (4, Image.Transpose.FLIP_TOP_BOTTOM),
        (5, Image.Transpose.TRANSPOSE),
        (6, Image.Transpose.ROTATE_270),
        (7, Image.Transpose.TRANSVERSE),
        (8, Image.Transpose.ROTATE_90),
    ],
)
def test_an_image_that_stands_askew_is_turned_upright_in_its_own_format(
    file_format: str, orientation: int, turn: Image.Transpose
) -> None:
    data = encoded(photograph(), file_format, orientation=orientation, profile=True)

    upright = remade(data)

    assert upright.format == file_format
    assert difference(upright, opened(data).transpose(turn)) < 3
    assert upright.getexif() == {}
    assert upright.info["icc_profile"] == opened(data).info["icc_profile"]


@pytest.mark.parametrize("orientation", [1, 0, 9, 4242])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_an_orientation_that_turns_nothing_leaves_the_image_as_it_is(file_format: str, orientation: int) -> None:
    data = encoded(photograph(), file_format, orientation=orientation)

    assert prepared(data).new_data is None


def test_exif_that_cannot_be_read_leaves_the_image_as_it_is() -> None:
    data = encoded(photograph(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffnonsense")

    assert prepared(data) == Reply(mime_type="image/jpeg")


def test_a_heic_is_left_to_its_own_properties() -> None:
    data = encoded(photograph(), "HEIF", orientation=6)

    assert prepared(data) == Reply(mime_type="image/heic")


def test_a_png_with_transparency_keeps_it_when_it_is_turned() -> None:
    image = photograph().convert("P")
    data = encoded(image, "PNG", orientation=3, transparency=0)

    assert remade(data).info["transparency"] == opened(data).info["transparency"]


@pytest.mark.parametrize(
    ("file_format", "becomes"), [("PNG", "PNG"), ("JPEG", "JPEG"), ("WEBP", "WEBP"), ("HEIF", "JPEG")]
)
def test_a_large_image_is_made_smaller_in_its_proportions(file_format: str, becomes: str) -> None:
    data = encoded(photograph().resize((300, 200)), file_format, profile=True)

    smaller = remade(data, max_side=150)

    assert (smaller.format, smaller.size) == (becomes, (150, 100))
    assert difference(smaller, photograph().resize((150, 100))) < 12
    assert "icc_profile" in smaller.info


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_large_png_of_any_mode_is_made_smaller(mode: str) -> None:
    gray = photograph().convert("L")
    image = gray.convert("I").point(lambda value: value * 256).convert("I;16") if mode == "I;16" else None
    data = encoded(image or photograph().convert(mode), "PNG")

    smaller = remade(data, max_side=30)

    assert smaller.size == (30, 20)
    assert difference(smaller.convert("RGB").convert("L"), gray.resize((30, 20))) < 40


@pytest.mark.parametrize("size", [(1, 300), (300, 1)])
def test_a_narrow_image_keeps_a_pixel(size: tuple[int, int]) -> None:
    assert min(remade(encoded(photograph().resize(size), "PNG"), max_side=10).size) == 1


def test_an_image_of_the_longest_side_stays_as_it_is() -> None:
    assert prepared(picture("JPEG"), max_side=60) == Reply(mime_type="image/jpeg")


def test_a_large_image_that_stands_askew_is_made_smaller_and_turned() -> None:
    data = encoded(photograph(), "JPEG", orientation=6)

    assert remade(data, max_side=30).size == (20, 30)


def test_a_transparent_heic_that_becomes_a_jpeg_stands_on_white() -> None:
    data = encoded(Image.new("RGBA", (40, 40), (0, 0, 0, 0)), "HEIF")

    pixel = remade(data, max_side=20).getpixel((10, 10))

    assert pixel == (255, 255, 255)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_the_first_frame_of_an_animation_counts(file_format: str) -> None:
    frames = [photograph(), Image.new("RGB", (60, 40), "red")]
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], duration=100)

    assert prepared(data) == Reply(mime_type=MIME_TYPES[file_format])
    assert difference(remade(data, max_side=30), photograph().resize((30, 20))) < 12


def test_the_first_picture_of_a_jpeg_with_several_counts() -> None:
    file = io.BytesIO()
    photograph().save(file, "MPO", save_all=True, append_images=[Image.new("RGB", (60, 40), "red")])

    assert prepared(file.getvalue()) == Reply(mime_type="image/jpeg")
    smaller = remade(file.getvalue(), max_side=30)
    assert smaller.format == "JPEG"
    assert difference(smaller, photograph().resize((30, 20))) < 12


def test_a_noisy_image_that_grows_when_it_is_turned_is_written_more_coarsely(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.effect_noise((200, 200), 90).convert("RGB"), "JPEG", orientation=3, quality=85)
    fine = prepared(data).new_data
    monkeypatch.setattr(decode, "_ROOMY_BYTES", len(data))

    coarse = prepared(data).new_data

    assert fine is not None
    assert coarse is not None
    assert len(coarse) < len(fine)
