"""Quotas: in no window of 60 s more than the limit, and 429s that say when to come back."""

import datetime
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from emulator_clients import GENERATE
from emulator_faults import billed, received
from hypothesis import given
from hypothesis import strategies as st

from devkit.emulator.app import create_app
from devkit.emulator.errors import ApiError
from devkit.emulator.quotas import Limits, Quotas
from devkit.emulator.serving import serving
from devkit.emulator.settings import EmulatorSettings

NOON = datetime.datetime(2026, 11, 20, 20, tzinfo=datetime.UTC)  # in California
LITE = "/v1/models/gemini-3.5-flash-lite:generateContent"


def after(seconds: float) -> datetime.datetime:
    return NOON + datetime.timedelta(seconds=seconds)


def refusal(quotas: Quotas, seconds: float, *, tokens: int = 1) -> ApiError | None:
    try:
        quotas.admit("model", tokens, after(seconds))
    except ApiError as error:
        return error
    return None


def retry_seconds(error: ApiError | None) -> float:
    assert error
    [delay] = [str(each["retryDelay"]) for each in error.details if str(each["@type"]).endswith("RetryInfo")]
    return float(delay.removesuffix("s"))


def test_the_window_slides() -> None:
    quotas = Quotas(Limits(requests_per_minute=2))

    assert [refusal(quotas, seconds) is None for seconds in (0, 50, 59.9, 60, 61, 109.9, 110)] == [
        *(True, True, False),
        *(True, False, False, True),
    ]


def test_tokens_are_limited_as_requests_are() -> None:
    quotas = Quotas(Limits(input_tokens_per_minute=100))

    assert refusal(quotas, 0, tokens=60) is None
    assert refusal(quotas, 10, tokens=40) is None
    assert retry_seconds(refusal(quotas, 20, tokens=70)) == 50
    assert retry_seconds(refusal(quotas, 20, tokens=10)) == 40
    assert retry_seconds(refusal(quotas, 20, tokens=101)) == 60
    assert refusal(quotas, 60, tokens=60) is None


def test_a_day_ends_at_midnight_in_california() -> None:
    quotas = Quotas(Limits(requests_per_day=1))

    assert refusal(quotas, 0) is None
    assert refusal(quotas, 12 * 3600 - 1)
    assert refusal(quotas, 12 * 3600) is None


@given(
    limit=st.integers(1, 5),
    arrivals=st.lists(st.integers(0, 30), max_size=60),
)
def test_no_window_holds_more_and_whoever_waits_as_told_is_admitted(limit: int, arrivals: list[int]) -> None:
    quotas = Quotas(Limits(requests_per_minute=limit))
    now, admitted = 0.0, []
    for gap in arrivals:
        now += gap
        if error := refusal(quotas, now):
            now += retry_seconds(error)
            assert refusal(quotas, now) is None
        admitted.append(now)

    assert all(sum(start <= time < start + 60 for time in admitted) <= limit for start in admitted)


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    settings = EmulatorSettings(latency_seconds=0, limits=Limits(requests_per_minute=2))
    async with (
        serving(create_app(settings)) as url,
        httpx2.AsyncClient(base_url=url, headers={"x-goog-api-key": "test"}) as client,
    ):
        yield client


async def test_calls_over_the_limit_are_refused_as_the_real_server_does(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    answers = [await http.post(GENERATE, json=body) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    error = answers[2].json()["error"]
    failure, _, retry = error["details"]
    assert error["status"] == "RESOURCE_EXHAUSTED"
    assert failure["violations"] == [
        {
            "quotaMetric": "generativelanguage.googleapis.com/generate_requests_per_model",
            "quotaId": "GenerateRequestsPerMinutePerProjectPerModel",
            "quotaDimensions": {"location": "global", "model": "gemini-3.8-flash"},
            "quotaValue": "2",
        }
    ]
    assert 0 < float(retry["retryDelay"].removesuffix("s")) <= 60
    assert re.search(r"limit: 2, model: gemini-3.8-flash\nPlease retry in [0-9.]+s\.$", error["message"])
    assert len(await billed(http)) == 2
    assert [call["over_quota"] for call in await received(http)] == [False, False, True]


async def test_every_model_has_a_quota_of_its_own(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    statuses = [(await http.post(path, json=body)).status_code for path in (GENERATE, GENERATE, GENERATE, LITE)]

    assert statuses == [200, 200, 429, 200]


async def test_quotas_are_changed_while_it_runs_and_all_that_are_exceeded_are_named(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    limits = {"requests_per_minute": 1, "input_tokens_per_minute": 1, "requests_per_day": 1}
    await http.post(GENERATE, json=body)
    await http.put("/emulator/quotas", json={"requests_per_day": 1})
    await http.post(GENERATE, json=body)

    changed = await http.put("/emulator/quotas", json=limits)
    refused = await http.post(GENERATE, json=body)
    await http.put("/emulator/quotas", json={})
    admitted = await http.post(GENERATE, json=body)

    assert {name: limit for name, limit in changed.json().items() if limit is not None} == limits
    quota_ids = [each["quotaId"] for each in refused.json()["error"]["details"][0]["violations"]]
    assert [re.search(r"(Requests|Tokens)\w*Per(Minute|Day)", each)[0] for each in quota_ids] == [  # type: ignore[index]
        *("RequestsPerMinute", "TokensPerModelPerMinute", "RequestsPerDay")
    ]
    assert admitted.status_code == 200
    assert not any((await http.get("/emulator/quotas")).json().values())


@pytest.mark.parametrize("quotas", [{"requests_per_minute": 0}, {"requests_per_day": "3"}, {"dollars": 1}, [], 7])
async def test_quotas_that_make_no_sense_are_refused(http: httpx2.AsyncClient, quotas: object) -> None:
    refused = await http.put("/emulator/quotas", json=quotas)

    assert refused.status_code == 400
    assert refused.json()["error"]
    assert (await http.get("/emulator/quotas")).json()["requests_per_minute"] == 2


async def test_a_spend_limit_refuses_without_details_until_ten_minutes_have_passed(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    await http.put("/emulator/quotas", json={"spend_usd_per_10_minutes": 0.000001})

    admitted, refused, other = [await http.post(path, json=body) for path in (GENERATE, GENERATE, LITE)]

    assert (admitted.status_code, refused.status_code, other.status_code) == (200, 429, 429)
    message = "Resource has been exhausted (e.g. check quota)."
    assert refused.json() == {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED"}}


def test_money_is_forgotten_after_ten_minutes() -> None:
    quotas = Quotas(Limits(spend_usd_per_10_minutes=2))
    quotas.spend(1.5, after(0))
    quotas.spend(0.5, after(300))

    assert [refusal(quotas, seconds) is None for seconds in (300, 599, 600)] == [False, False, True]


@pytest.mark.parametrize("limit", [0, -1, float("inf"), float("nan"), True, "3"])
def test_a_spend_limit_is_a_number_over_zero(limit: Any) -> None:
    with pytest.raises(ValueError, match="spend_usd_per_10_minutes"):
        Limits(spend_usd_per_10_minutes=limit)
