"""What the unmodified google-genai client gets for an image, a prompt and a schema."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pydantic
import pytest
from emulator_clients import GENERATE, google_client
from emulator_pictures import ENCODINGS, black_png, drawn, encoded
from google import genai
from google.genai import types
from PIL import Image

MODEL = "gemini-3.8-flash"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "subject": {"type": "string", "enum": ["person", "animal", "object"]},
        "price": {"type": "number"},
        "brightness": {"type": "number", "minimum": 0, "maximum": 1},
        "indoors": {"type": "boolean"},
        "lines": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"text": {"type": "string"}, "number": {"type": "integer"}},
                "required": ["text", "number"],
            },
        },
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["title", "subject", "price", "brightness", "indoors", "lines", "note"],
    "propertyOrdering": ["note", "title", "subject", "price", "brightness", "indoors", "lines"],
}


async def ask(
    client: genai.Client, *images: bytes, mime_type: str = "image/png", model: str = MODEL, **config: Any
) -> types.GenerateContentResponse:
    """Ask as the executor does: images inline, then the prompt, a JSON schema, no continuation."""
    parts: list[Any] = [types.Part.from_bytes(data=image, mime_type=mime_type) for image in images]
    wanted = {"response_mime_type": "application/json", "response_json_schema": SCHEMA} | config
    return await client.aio.models.generate_content(
        model=model,
        contents=[*parts, "What is this?"],
        config=types.GenerateContentConfig(
            automatic_continuation=False,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            **{name: value for name, value in wanted.items() if value is not None},
        ),
    )


def answer_of(response: types.GenerateContentResponse) -> Any:
    assert response.text
    return json.loads(response.text)


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for member in value.values():
            yield from leaves(member)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@pytest.mark.parametrize("name", ["coffee.png", "astronaut.png", "rocket.jpg", "hubble_deep_field.jpg"])
async def test_a_photograph_is_answered_with_json_that_fits_the_schema(
    client: genai.Client, samples: Path, name: str
) -> None:
    photograph = (samples / name).read_bytes()

    response = await ask(client, photograph, mime_type="image/png" if name.endswith("png") else "image/jpeg")

    jsonschema_rs.validate(SCHEMA, answer_of(response))
    assert [candidate.finish_reason for candidate in response.candidates or ()] == [types.FinishReason.STOP]


@pytest.mark.parametrize("api_version", ["v1", "v1beta"])
async def test_both_versions_of_the_api_are_served(base_url: str, api_version: str) -> None:
    async with google_client(base_url, api_version=api_version) as client:
        response = await ask(client, encoded(drawn()))

    assert answer_of(response)["title"]


async def test_an_answer_says_that_it_is_made_up_and_from_what(client: genai.Client) -> None:
    response = await ask(client, encoded(drawn()))

    title = answer_of(response)["title"]
    assert title.startswith("emulated title: 64x48 image, mostly #a33b21, rather dark, ")
    assert response.model_version == "gemini-3.8-flash-emulator"


async def test_every_response_has_an_id_of_its_own(client: genai.Client) -> None:
    responses = [await ask(client, encoded(drawn())) for _ in range(2)]

    assert responses[0].response_id
    assert responses[0].response_id != responses[1].response_id
    assert answer_of(responses[0]) == answer_of(responses[1])


async def test_one_changed_pixel_changes_every_string_and_every_number(client: genai.Client) -> None:
    schema = {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "date": {"type": "string", "format": "date"},
            "number": {"type": "number"},
            "share": {"type": "number", "minimum": 0, "maximum": 1},
            "count": {"type": "integer"},
            "texts": {"type": "array", "items": {"type": "string"}, "minItems": 3, "maxItems": 3},
        },
    }

    one = answer_of(await ask(client, encoded(drawn(dot=33)), response_json_schema=schema))
    other = answer_of(await ask(client, encoded(drawn(dot=34)), response_json_schema=schema))

    pairs = list(zip(leaves(one), leaves(other), strict=True))
    assert len(pairs) == 8
    assert all(first != second for first, second in pairs), pairs


async def test_the_pixels_decide_and_not_the_file(client: genai.Client) -> None:
    answers = [
        answer_of(await ask(client, encoded(drawn(), mime_type), mime_type=mime_type))
        for mime_type in ("image/png", "image/webp")
    ]

    assert answers[0] == answers[1]


@pytest.mark.parametrize("mime_type", ENCODINGS)
async def test_every_format_that_gemini_takes_is_decoded(client: genai.Client, mime_type: str) -> None:
    response = await ask(client, encoded(drawn(), mime_type), mime_type=mime_type)

    assert "64x48 image" in answer_of(response)["title"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
async def test_every_kind_of_png_is_decoded(client: genai.Client, mode: str) -> None:
    image = drawn().convert("L").convert(mode) if mode == "I;16" else drawn().convert(mode)

    response = await ask(client, encoded(image))

    assert "64x48 image" in answer_of(response)["title"]


async def test_an_image_may_have_a_hundred_megapixels(client: genai.Client) -> None:
    response = await ask(client, black_png(10_000, 10_000))

    assert "10000x10000 image, mostly #000000, very dark" in answer_of(response)["title"]


async def test_a_heic_may_be_called_heif(client: genai.Client) -> None:
    response = await ask(client, encoded(drawn(), "image/heic"), mime_type="image/heif")

    assert "64x48 image" in answer_of(response)["title"]


async def test_the_order_of_several_images_matters(client: genai.Client) -> None:
    dark, bright = encoded(drawn()), encoded(drawn(dot=255))

    one, other = answer_of(await ask(client, dark, bright)), answer_of(await ask(client, bright, dark))

    assert "the first of 2" in one["title"]
    assert one["title"] != other["title"]


async def test_a_prompt_alone_is_answered_too(client: genai.Client) -> None:
    response = await ask(client)

    assert "no image" in answer_of(response)["title"]


async def test_keys_come_in_the_order_that_was_asked_for(client: genai.Client) -> None:
    response = await ask(client, encoded(drawn()))

    assert list(answer_of(response)) == SCHEMA["propertyOrdering"]


async def test_the_dialect_of_response_schema_is_understood(client: genai.Client) -> None:
    class Document(pydantic.BaseModel):
        total: float
        title: str
        paid: bool | None
        lines: list[str] = pydantic.Field(min_length=2, max_length=2)

    response = await ask(client, encoded(drawn()), response_json_schema=None, response_schema=Document)

    document = Document.model_validate_json(response.text or "")
    assert document.title.startswith("emulated title: ")
    assert document.paid is not None
    assert isinstance(response.parsed, Document)


async def test_without_a_schema_the_answer_is_a_sentence_that_says_who_speaks(client: genai.Client) -> None:
    response = await ask(client, encoded(drawn()), response_json_schema=None, response_mime_type=None)

    assert response.text
    assert response.text.startswith("This answer was made up by the Gemini emulator: 64x48 image")


async def test_json_without_a_schema_is_json_that_says_who_speaks(client: genai.Client) -> None:
    response = await ask(client, encoded(drawn()), response_json_schema=None)

    assert answer_of(response)["emulated"].startswith("This answer was made up by the Gemini emulator")


async def test_usage_tells_text_and_image_apart_and_adds_up(client: genai.Client) -> None:
    response = await ask(client, encoded(drawn()), system_instruction="You extract.")

    usage = response.usage_metadata
    assert usage
    assert usage.prompt_tokens_details
    assert usage.thoughts_token_count
    assert usage.candidates_token_count
    asked = len("What is this?") + len("You extract.") + len(json.dumps(SCHEMA))
    text_tokens = -(-asked // 4)
    by_modality = {detail.modality: detail.token_count for detail in usage.prompt_tokens_details}
    assert by_modality == {types.MediaModality.TEXT: text_tokens, types.MediaModality.IMAGE: 1120}
    assert usage.prompt_token_count == text_tokens + 1120
    assert usage.candidates_token_count == -(-len(response.text or "") // 4)
    output_tokens = usage.candidates_token_count + usage.thoughts_token_count
    assert usage.total_token_count == text_tokens + 1120 + output_tokens


@pytest.mark.parametrize(("resolution", "tokens"), [("LOW", 280), ("MEDIUM", 560), ("HIGH", 1120)])
async def test_an_image_costs_what_its_resolution_says(client: genai.Client, resolution: str, tokens: int) -> None:
    images = [encoded(drawn()), encoded(drawn(dot=1))]

    response = await ask(client, *images, media_resolution=f"MEDIA_RESOLUTION_{resolution}")

    assert image_tokens(response) == 2 * tokens


async def test_one_part_may_have_a_resolution_of_its_own(client: genai.Client) -> None:
    parts: list[Any] = [
        types.Part.from_bytes(data=encoded(drawn()), mime_type="image/png"),
        types.Part.from_bytes(
            data=encoded(drawn()), mime_type="image/png", media_resolution="MEDIA_RESOLUTION_ULTRA_HIGH"
        ),
    ]

    response = await client.aio.models.generate_content(
        model=MODEL,
        contents=parts,
        config=types.GenerateContentConfig(media_resolution=types.MediaResolution.MEDIA_RESOLUTION_LOW),
    )

    assert image_tokens(response) == 280 + 2240


def image_tokens(response: types.GenerateContentResponse) -> int | None:
    details = (response.usage_metadata and response.usage_metadata.prompt_tokens_details) or []
    return next(detail.token_count for detail in details if detail.modality == types.MediaModality.IMAGE)


async def test_thinking_is_counted_told_on_request_and_kept_out_of_the_text(client: genai.Client) -> None:
    deep = types.ThinkingConfig(thinking_level=types.ThinkingLevel.HIGH, include_thoughts=True)
    least = types.ThinkingConfig(thinking_level=types.ThinkingLevel.MINIMAL)

    thoughtful = await ask(client, encoded(drawn()), thinking_config=deep)
    thoughtless = await ask(client, encoded(drawn()), thinking_config=least)

    assert [bool(part.thought) for part in thoughtful.parts or ()] == [True, False]
    assert thoughtful.usage_metadata
    assert thoughtful.usage_metadata.thoughts_token_count
    assert thoughtless.usage_metadata
    assert thoughtless.usage_metadata.thoughts_token_count is None
    assert answer_of(thoughtful) == answer_of(thoughtless)


async def test_an_answer_that_is_longer_than_allowed_is_cut(client: genai.Client) -> None:
    whole = await ask(client, encoded(drawn()))

    cut = await ask(client, encoded(drawn()), max_output_tokens=20)

    assert whole.text
    assert cut.text
    assert cut.candidates
    assert cut.usage_metadata
    assert cut.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert whole.text.startswith(cut.text)
    assert len(cut.text) < len(whole.text)
    assert (cut.usage_metadata.candidates_token_count or 0) + (cut.usage_metadata.thoughts_token_count or 0) == 20


async def test_a_bound_that_is_just_wide_enough_cuts_nothing(client: genai.Client) -> None:
    least = types.ThinkingConfig(thinking_level=types.ThinkingLevel.MINIMAL)
    whole = await ask(client, encoded(drawn()), thinking_config=least)
    assert whole.usage_metadata

    exact = await ask(
        client,
        encoded(drawn()),
        thinking_config=least,
        max_output_tokens=whole.usage_metadata.candidates_token_count,
    )

    assert exact.candidates
    assert exact.candidates[0].finish_reason == types.FinishReason.STOP
    assert exact.text == whole.text


async def test_a_body_may_use_the_names_of_the_proto_and_either_base64(base_url: str, body: dict[str, Any]) -> None:
    image = Image.effect_noise((40, 40), 90)
    body["contents"][0]["parts"][0]["inlineData"]["data"] = base64.b64encode(encoded(image)).decode()
    urlsafe = base64.urlsafe_b64encode(encoded(image)).decode().rstrip("=")
    assert set(urlsafe) & {"-", "_"}
    proto = {
        "contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": urlsafe}}]}],
        "generation_config": {
            "response_mime_type": "application/json",
            "response_json_schema": body["generationConfig"]["responseJsonSchema"],
            "max_output_tokens": "1000",
            "seed": None,
        },
    }
    async with httpx2.AsyncClient(base_url=base_url, params={"key": "test"}) as http:
        answers = [
            (await http.post(GENERATE, json=sent)).json()["candidates"][0]["content"]["parts"] for sent in (body, proto)
        ]

    assert answers[0] == answers[1]
    assert json.loads(answers[0][0]["text"])["what"].startswith("emulated what: 40x40 image")
