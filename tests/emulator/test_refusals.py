"""What the emulator refuses, in the real server's words; nothing that it refuses is billed."""

from typing import Any

import httpx2
import pytest
from emulator_clients import GENERATE, google_client, refusal
from google.genai import errors as genai_errors

from devkit.emulator.app import create_app
from devkit.emulator.serving import serving
from devkit.emulator.settings import EmulatorSettings

NOTHING_TOLD = "Request contains an invalid argument."

pytestmark = pytest.mark.usefixtures("nothing_is_billed")


def config(body: dict[str, Any]) -> dict[str, Any]:
    generation_config: dict[str, Any] = body["generationConfig"]
    return generation_config


@pytest.mark.parametrize("headers", [{}, {"x-goog-api-key": ""}, {"x-goog-api-key": "invalid-key"}])
async def test_a_bad_key_is_a_400_with_its_reason(base_url: str, body: dict[str, Any], headers: dict[str, str]) -> None:
    async with httpx2.AsyncClient(base_url=base_url) as http:
        response = await http.post(GENERATE, json=body, headers=headers)

    message = "API key not valid. Please pass a valid API key."
    assert response.status_code == 400
    assert response.json() == {
        "error": {
            "code": 400,
            "message": message,
            "status": "INVALID_ARGUMENT",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "API_KEY_INVALID",
                    "domain": "googleapis.com",
                    "metadata": {"service": "generativelanguage.googleapis.com"},
                },
                {
                    "@type": "type.googleapis.com/google.rpc.LocalizedMessage",
                    "locale": "en-US",
                    "message": message,
                },
            ],
        }
    }


async def test_the_client_sees_a_refusal_as_its_own_error(base_url: str) -> None:
    async with google_client(base_url, api_key="invalid") as client:
        with pytest.raises(genai_errors.ClientError) as refused:
            await client.aio.models.generate_content(model="gemini-3.8-flash", contents="Hello")

    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")
    assert refused.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"


@pytest.mark.parametrize("api_version", ["v1", "v1beta"])
async def test_an_unknown_model_is_not_found_in_that_version(
    http: httpx2.AsyncClient, body: dict[str, Any], api_version: str
) -> None:
    error = await refusal(http, body, status=404, url=f"/{api_version}/models/gemini-2.0-flash:generateContent")

    assert error["status"] == "NOT_FOUND"
    assert error["message"] == (
        f"models/gemini-2.0-flash is not found for API version {api_version}, or is not supported for generateContent. "
        "Call ListModels to see the list of available models and their supported methods."
    )


async def test_an_unknown_name_is_told_with_its_path_and_its_violation(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    schema = {"type": "OBJECT", "properties": {"a": {"type": "STRING", "additional_properties": False}}}
    body["generationConfig"] = {"responseMimeType": "application/json", "responseSchema": schema}
    body["contnts"] = []

    error = await refusal(http, body)

    where = "generation_config.response_schema.properties[0].value"
    nested = f"Unknown name \"additional_properties\" at '{where}': Cannot find field."
    descriptions = [
        f"Invalid JSON payload received. {problem}"
        for problem in (nested, 'Unknown name "contnts": Cannot find field.')
    ]
    assert error["message"] == "\n".join(descriptions)
    assert error["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [
                {"field": where, "description": descriptions[0]},
                {"field": "", "description": descriptions[1]},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("temperature", "warm", "Invalid value at 'generation_config.temperature' (TYPE_FLOAT), \"warm\""),
        ("maxOutputTokens", 1.5, "Invalid value at 'generation_config.max_output_tokens' (TYPE_INT32), 1.5"),
        ("seed", True, "Invalid value at 'generation_config.seed' (TYPE_INT32), true"),
        (
            "mediaResolution",
            "MEDIA_RESOLUTION_ULTRA_HIGH",
            (
                "Invalid value at 'generation_config.media_resolution' (type.googleapis.com/google.ai.generativelanguage."
                'v1beta.GenerationConfig.MediaResolution), "MEDIA_RESOLUTION_ULTRA_HIGH"'
            ),
        ),
        (
            "thinkingConfig",
            [],
            (
                "Invalid value at 'generation_config.thinking_config' (type.googleapis.com/google.ai.generativelanguage."
                "v1beta.ThinkingConfig), []"
            ),
        ),
    ],
)
async def test_a_value_of_the_wrong_kind_is_told_with_its_path(
    http: httpx2.AsyncClient, body: dict[str, Any], field: str, value: object, message: str
) -> None:
    config(body)[field] = value

    assert (await refusal(http, body))["message"] == message


async def test_a_part_with_a_text_and_an_image_is_refused(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    body["contents"][0]["parts"][0]["text"] = "And this?"

    message = "Invalid value at 'contents[0].parts[0]' (oneof), oneof field 'data' is already set. Cannot set 'text'"
    assert (await refusal(http, body))["message"] == message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"contents": NaN}', b'{"contents": 1e999}', b"[]"])
async def test_a_body_that_is_no_json_object_is_refused(http: httpx2.AsyncClient, content: bytes) -> None:
    response = await http.post(GENERATE, content=content)

    assert response.status_code == 400
    assert response.json()["error"]["status"] == "INVALID_ARGUMENT"


async def test_a_body_nested_without_end_is_refused(http: httpx2.AsyncClient) -> None:
    depth = 20_000
    content = '{"generationConfig": {"responseJsonSchema": ' + '{"items": ' * depth + "{}" + "}" * depth + "}}"

    response = await http.post(GENERATE, content=content.encode())

    assert response.status_code == 400
    assert response.json()["error"]["message"] == NOTHING_TOLD


async def test_two_schemas_are_one_too_many(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    config(body)["responseSchema"] = {"type": "STRING"}

    assert "response_schema and response_json_schema" in (await refusal(http, body))["message"]


async def test_a_schema_needs_the_mime_type_of_json(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    del config(body)["responseMimeType"]

    message = "Response schema with response mime type: 'text/plain' is unsupported"
    assert (await refusal(http, body))["message"] == message


@pytest.mark.parametrize(
    "keyword",
    [
        {"pattern": "a+"},
        {"minLength": 1},
        {"maxLength": 9},
        {"const": 1},
        {"multipleOf": 2},
        {"exclusiveMinimum": 0},
        {"exclusiveMaximum": 9},
        {"uniqueItems": True},
        {"allOf": [{}]},
        {"not": {}},
        {"if": {}},
        {"then": {}},
        {"patternProperties": {}},
        {"dependentRequired": {}},
        {"minProperties": 1},
        {"nullable": True},
        {"required": ["b"]},
        {"enum": [True]},
        {"enum": []},
        {"type": "text"},
        {"items": True},
        {"minItems": -1},
        {"minimum": "0"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#", "description": "A reference stands alone."},
        {"$ref": "#/default", "$comment": "Not a schema."},
    ],
)
async def test_what_the_json_schema_mode_does_not_know_is_refused_wherever_it_stands(
    http: httpx2.AsyncClient, body: dict[str, Any], keyword: dict[str, Any]
) -> None:
    inner = {"type": "object", "properties": {"a": keyword}}
    for schema in (
        inner,
        {"type": "array", "items": inner},
        {"anyOf": [inner]},
        {"type": "object", "additionalProperties": inner},
        {"$ref": "#/$defs/x", "$defs": {"x": inner}},
    ):
        config(body)["responseJsonSchema"] = schema | {"default": {}}

        error = await refusal(http, body)

        assert error["message"] == NOTHING_TOLD
        assert error["details"][0]["detail"].startswith("emulator: ")


async def test_arrays_that_may_be_long_together_are_refused(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    array = {"type": "array", "items": {"type": "string"}, "maxItems": 500}
    config(body)["responseJsonSchema"] = {"type": "object", "properties": {"a": array, "b": array}}

    assert (await refusal(http, body))["message"] == NOTHING_TOLD


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", 2.1), ("maxOutputTokens", 0), ("responseMimeType", "text/html")]
)
async def test_a_setting_out_of_range_is_refused_with_its_path(
    http: httpx2.AsyncClient, body: dict[str, Any], field: str, value: object
) -> None:
    del config(body)["responseJsonSchema"]
    config(body)[field] = value

    assert (await refusal(http, body))["message"].startswith("* GenerateContentRequest.generation_config.")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([], "* GenerateContentRequest.contents: contents is not specified"),
        ([{"parts": []}], "* GenerateContentRequest.contents[0].parts: contents.parts must not be empty."),
        (
            [{"parts": [{"text": "a"}, {}]}],
            (
                "* GenerateContentRequest.contents[0].parts[1].data: "
                "required oneof field 'data' must have one initialized field"
            ),
        ),
        ([{"role": "system", "parts": [{"text": "a"}]}], "Please use a valid role: user, model."),
    ],
)
async def test_contents_without_content_are_refused(
    http: httpx2.AsyncClient, body: dict[str, Any], contents: list[Any], message: str
) -> None:
    assert (await refusal(http, body | {"contents": contents}))["message"].strip() == message


async def test_a_thinking_budget_is_refused(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    config(body)["thinkingConfig"] = {"thinkingBudget": 100}

    assert (await refusal(http, body))["message"] == NOTHING_TOLD


@pytest.mark.parametrize("field", ["tools", "cachedContent"])
async def test_what_gemini_can_and_the_emulator_cannot_is_said_to_be_so(
    http: httpx2.AsyncClient, body: dict[str, Any], field: str
) -> None:
    error = await refusal(http, body | {field: []}, status=501)

    assert error["status"] == "UNIMPLEMENTED"
    assert "The emulator does not emulate" in error["message"]


async def test_a_caller_that_waits_less_than_the_answer_takes_gets_a_deadline(body: dict[str, Any]) -> None:
    app = create_app(EmulatorSettings(latency_seconds=600))
    async with serving(app) as url, httpx2.AsyncClient(base_url=url) as http:
        response = await http.post(GENERATE, json=body, headers={"x-goog-api-key": "test", "x-server-timeout": "0.05"})
        billed = (await http.get("/emulator/ledger/count")).json()

    assert response.status_code == 504
    assert response.json()["error"]["status"] == "DEADLINE_EXCEEDED"
    assert billed == {"count": 0}


async def test_an_emulator_that_goes_away_keeps_nobody_waiting(body: dict[str, Any]) -> None:
    app = create_app(EmulatorSettings(latency_seconds=600))
    async with serving(app) as url, httpx2.AsyncClient(base_url=url) as http:
        app.state.close()
        response = await http.post(GENERATE, json=body, headers={"x-goog-api-key": "test"})

    assert response.status_code == 503
    assert response.json()["error"]["status"] == "UNAVAILABLE"
