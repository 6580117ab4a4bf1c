"""Every scripted error of both providers, byte by byte as it goes over the wire."""

import datetime
import email.utils
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from emulator_chats import CHAT, chat
from emulator_clients import GENERATE, google_client
from emulator_faults import billed, emulator, hit_by
from google.genai import errors as genai_errors

MODEL = "gemini-3.8-flash"
REPORT = "Please retry or report in https://developers.generativeai.google/guide/troubleshooting"
NOT_FOUND = (
    f"models/{MODEL} is not found for API version v1beta, or is not supported for generateContent. "
    "Call ListModels to see the list of available models and their supported methods."
)
NEW_USERS = (
    f"This model models/{MODEL} is no longer available to new users. Please update your code to use a newer model "
    "for the latest features and improvements."
)
QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)
HELP = {
    "@type": "type.googleapis.com/google.rpc.Help",
    "links": [
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ],
}
STATES = (
    "The specified schema produces a constraint that has too many states for serving. Typical causes of this error "
    "are schemas with lots of text (for example, very long property or enum names), schemas with long array length "
    "limits (especially when nested), or schemas using complex value matchers (for example, integers or numbers "
    "with minimum/maximum bounds or strings with complex formats like date-time)"
)
DEPLETED = "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing."

GEMINI_ERRORS = {
    "400": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "400-states": (400, "INVALID_ARGUMENT", STATES),
    "400-image": (400, "INVALID_ARGUMENT", f"Unable to process input image. {REPORT}"),
    "400-image-invalid": (400, "INVALID_ARGUMENT", "Provided image is not valid."),
    "400-size": (400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes."),
    "400-location": (400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
    "402": (402, "RESOURCE_EXHAUSTED", DEPLETED),
    "403": (403, "PERMISSION_DENIED", "The caller does not have permission"),
    "403-leaked": (403, "PERMISSION_DENIED", "Your API key was reported as leaked. Please use another API key."),
    "404": (404, "NOT_FOUND", NOT_FOUND),
    "404-new-users": (404, "NOT_FOUND", NEW_USERS),
    "429-bare": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    "429-billing": (429, "RESOURCE_EXHAUSTED", DEPLETED),
    "429-header": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    "499": (499, "CANCELLED", "The operation was cancelled."),
    "500": (500, "INTERNAL", f"An internal error has occurred. {REPORT}"),
    "502": (502, "UNAVAILABLE", "Bad Gateway"),
    "503": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "503-service": (503, "UNAVAILABLE", "The service is currently unavailable."),
    "503-deadline": (503, "UNAVAILABLE", "Deadline expired before operation could complete."),
    "504": (504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}
"""Status, canonical code and message by the kind of fault; they have no details."""

INVALID = "invalid_request_error"
BUSY = "Service is too busy. We advise users to temporarily switch to alternative LLM API service providers."
PARSE = "Failed to parse the request body as JSON: expected value at line 1 column 1"
DESERIALIZE = "Failed to deserialize the JSON body into the target type: messages[0].content: invalid type"
KEY = "Authentication Fails, Your api key: ****ator is invalid"
DEEPSEEK_ERRORS = {
    "400": (400, PARSE, INVALID, INVALID),
    "401": (401, KEY, "authentication_error", INVALID),
    "402": (402, "Insufficient Balance", "unknown_error", INVALID),
    "insufficient-balance": (402, "Insufficient Balance", "unknown_error", INVALID),
    "422": (422, DESERIALIZE, INVALID, INVALID),
    "429": (429, "Rate limit reached", "rate_limit_error", "rate_limit_reached"),
    "500": (500, "Internal Server Error", "internal_error", "internal_error"),
    "502": (502, "Bad Gateway", "service_unavailable_error", "bad_gateway"),
    "503": (503, BUSY, "service_unavailable_error", "service_unavailable_error"),
}
"""Status, message, type and code by the kind of fault."""

PAGES = {"408": (408, b"Request Timeout"), "413": (413, b"Request Entity Too Large"), "html": (502, b"502 Bad Gateway")}
"""Status and title by the kind of fault."""


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with emulator() as client:
        yield client


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def violation(quota_id: str, metric: str, value: str) -> dict[str, Any]:
    return {
        "quotaMetric": f"generativelanguage.googleapis.com/{metric}",
        "quotaId": quota_id,
        "quotaDimensions": {"location": "global", "model": MODEL},
        "quotaValue": value,
    }


MINUTE = violation("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "generate_content_free_tier_requests", "20")
TOKENS = violation(
    "GenerateContentInputTokensPerModelPerMinute-FreeTier", "generate_content_free_tier_input_token_count", "250000"
)
DAY = violation("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "generate_content_free_tier_requests", "20")


def exhausted(message: str, violations: list[dict[str, Any]], delay: str) -> dict[str, Any]:
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
        HELP,
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    return {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}}


def tail(*violations: dict[str, Any], delay: str) -> str:
    lines = [
        f"* Quota exceeded for metric: {each['quotaMetric']}, limit: {each['quotaValue']}, model: {MODEL}"
        for each in violations
    ]
    return "\n".join([QUOTA, *lines, f"Please retry in {delay}."])


@pytest.mark.parametrize("kind", GEMINI_ERRORS)
async def test_an_error_of_geminis_is_told_in_its_own_words(
    http: httpx2.AsyncClient, body: dict[str, Any], kind: str
) -> None:
    status, name, message = GEMINI_ERRORS[kind]

    answer = await http.post(GENERATE, json=body, headers=hit_by(kind))

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    assert answer.content == encoded({"error": {"code": status, "message": message, "status": name}})
    assert await billed(http) == []


@pytest.mark.parametrize("kind", DEEPSEEK_ERRORS)
async def test_an_error_of_deepseeks_is_told_in_its_own_words(http: httpx2.AsyncClient, kind: str) -> None:
    status, message, name, code = DEEPSEEK_ERRORS[kind]

    answer = await http.post(CHAT, json=chat(), headers=hit_by(kind))

    assert answer.status_code == status
    assert answer.content == encoded({"error": {"message": message, "type": name, "param": None, "code": code}})
    assert await billed(http) == []


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("429", exhausted(tail(MINUTE, delay="30s"), [MINUTE], "30s")),
        ("429-tokens", exhausted(QUOTA, [TOKENS], "26s")),
        ("429-day", exhausted(tail(DAY, delay="30s"), [DAY], "30s")),
        ("429-several", exhausted(tail(MINUTE, TOKENS, DAY, delay="30s"), [MINUTE, TOKENS, DAY], "30s")),
        ("429-fractional", exhausted(tail(MINUTE, delay="600.5s"), [MINUTE], "600.5s")),
        ("429-huge", exhausted(tail(MINUTE, delay="315576000000s"), [MINUTE], "315576000000s")),
        ("429-negative", exhausted(tail(MINUTE, delay="-5s"), [MINUTE], "-5s")),
        ("429-absurd", exhausted(tail(MINUTE, delay="soon"), [MINUTE], "soon")),
        (
            "429-help",
            {"error": {"code": 429, "message": QUOTA, "status": "RESOURCE_EXHAUSTED", "details": [HELP]}},
        ),
    ],
)
async def test_a_quota_is_told_with_its_violations_and_its_time(
    http: httpx2.AsyncClient, body: dict[str, Any], kind: str, expected: dict[str, Any]
) -> None:
    answer = await http.post(GENERATE, json=body, headers=hit_by(kind))

    assert answer.status_code == 429
    assert answer.content == encoded(expected)
    assert "retry-after" not in answer.headers


async def test_a_raw_delay_takes_the_place_of_the_seconds(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    fault = json.dumps({"kind": "429-several", "retry_delay": "53.016342224s"})

    answer = await http.post(GENERATE, json=body, headers=hit_by(fault))

    expected = exhausted(tail(MINUTE, TOKENS, DAY, delay="53.016342224s"), [MINUTE, TOKENS, DAY], "53.016342224s")
    assert answer.content == encoded(expected)


@pytest.mark.parametrize("path", [GENERATE, CHAT])
async def test_a_time_may_stand_in_the_header_alone(http: httpx2.AsyncClient, body: dict[str, Any], path: str) -> None:
    sent = body if path == GENERATE else chat()
    seconds = json.dumps({"kind": "429-header", "retry_seconds": 2.5})
    date = json.dumps({"kind": "429-header-date", "retry_seconds": 100})

    in_seconds = await http.post(path, json=sent, headers=hit_by(seconds))
    before = datetime.datetime.now(datetime.UTC)
    as_date = await http.post(path, json=sent, headers=hit_by(date))

    assert in_seconds.headers["retry-after"] == "3"
    assert as_date.headers["retry-after"].endswith(" GMT")
    until = email.utils.parsedate_to_datetime(as_date.headers["retry-after"])
    assert 100 <= (until - before).total_seconds() <= 120
    assert "details" not in as_date.json()["error"]


async def test_a_bad_key_and_a_disabled_service_name_their_reason(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    key = (await http.post(GENERATE, json=body, headers=hit_by("400-key"))).json()["error"]
    disabled = (await http.post(GENERATE, json=body, headers=hit_by("403-disabled"))).json()["error"]

    assert (key["code"], key["message"]) == (400, "API key not valid. Please pass a valid API key.")
    assert [each.get("reason") for each in key["details"]] == ["API_KEY_INVALID", None]
    assert (disabled["code"], disabled["status"]) == (403, "PERMISSION_DENIED")
    assert disabled["details"][0]["reason"] == "SERVICE_DISABLED"


async def test_an_unknown_name_is_told_with_its_violation(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    answer = await http.post(GENERATE, json=body, headers=hit_by("400-name"))

    path = "generation_config.response_schema"
    message = f"Invalid JSON payload received. Unknown name \"additional_properties\" at '{path}': Cannot find field."
    found = [{"field": path, "description": message}]
    details = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": found}]
    error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": details}
    assert answer.content == encoded({"error": error})


async def test_an_error_may_come_in_a_list(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    answer = await http.post(GENERATE, json=body, headers=hit_by("503-list"))

    error = {"code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE"}
    assert (answer.status_code, answer.content) == (503, encoded([{"error": error}]))


async def test_googles_own_client_unwraps_the_list() -> None:
    async with emulator() as http, google_client(str(http.base_url)) as client:
        await http.post("/emulator/faults", json={"kind": "503-list"})
        with pytest.raises(genai_errors.ServerError) as failed:
            await client.aio.models.generate_content(model=MODEL, contents="What is this?")

    assert (failed.value.code, failed.value.status) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("path", [GENERATE, CHAT])
async def test_a_front_tells_its_errors_as_a_page(
    http: httpx2.AsyncClient, body: dict[str, Any], path: str, kind: str
) -> None:
    status, title = PAGES[kind]

    answer = await http.post(path, json=body if path == GENERATE else chat(), headers=hit_by(kind))

    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert title in answer.content
    assert await billed(http) == []
