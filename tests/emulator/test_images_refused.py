"""Images that the emulator does not take, in the real server's words."""

import base64
import io
from typing import Any

import httpx2
import pytest
from emulator_clients import refusal
from emulator_pictures import black_png, drawn, encoded
from PIL import Image

pytestmark = pytest.mark.usefixtures("nothing_is_billed")

UNREADABLE = (
    "Unable to process input image. Please retry or report in "
    "https://developers.generativeai.google/guide/troubleshooting"
)


def with_image(body: dict[str, Any], data: bytes, mime_type: str = "image/png") -> dict[str, Any]:
    blob = {"mimeType": mime_type, "data": base64.b64encode(data).decode()}
    body["contents"][0]["parts"][0] = {"inlineData": blob}
    return body


def truncated() -> bytes:
    return encoded(Image.effect_noise((64, 64), 80))[:-200]


def truncated_jpeg() -> bytes:
    return encoded(Image.effect_noise((256, 256), 80), "image/jpeg")[:-4000]


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (b"", "image/png"),
        (b"no image at all", "image/png"),
        (b"\x89PNG\r\n\x1a\n and then nothing", "image/png"),
        (truncated(), "image/png"),
        (truncated_jpeg(), "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image/heic"),
    ],
)
async def test_an_image_that_cannot_be_decoded_is_refused(
    http: httpx2.AsyncClient, body: dict[str, Any], data: bytes, mime_type: str
) -> None:
    error = await refusal(http, with_image(body, data, mime_type))

    assert (error["status"], error["message"]) == ("INVALID_ARGUMENT", UNREADABLE)


async def test_a_small_file_with_too_many_pixels_is_refused(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    error = await refusal(http, with_image(body, black_png(10_001, 10_000)))

    assert error["message"] == UNREADABLE


async def test_an_image_that_is_not_what_it_is_said_to_be_is_refused(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    error = await refusal(http, with_image(body, encoded(drawn()), "image/jpeg"))

    assert error["message"] == "Provided image is not valid."


@pytest.mark.parametrize("mime_type", ["image/gif", "image/tiff", "image/svg+xml", "application/pdf", "image/jpg", ""])
async def test_other_mime_types_are_refused(http: httpx2.AsyncClient, body: dict[str, Any], mime_type: str) -> None:
    error = await refusal(http, with_image(body, encoded(drawn()), mime_type))

    assert error["message"] == f"Unsupported MIME type: {mime_type}"


async def test_a_gif_that_is_called_a_png_is_refused(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    out = io.BytesIO()
    drawn().save(out, "GIF")

    assert (await refusal(http, with_image(body, out.getvalue())))["message"] == UNREADABLE


async def test_an_image_that_is_no_base64_is_refused(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    body["contents"][0]["parts"][0]["inlineData"]["data"] = "no base64!"

    where = "contents[0].parts[0].inline_data.data"
    message = f"Invalid value at '{where}' (TYPE_BYTES), Base64 decoding failed for \"no base64!\""
    assert (await refusal(http, body))["message"] == message
