"""Models that are retired, or answered by another one, until that is taken back; and how long each takes."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from emulator_chats import CHAT, MODEL, chat
from emulator_clients import GENERATE
from emulator_faults import billed, emulator

from devkit.emulator.distributions import Distribution, Fixed, Latencies, LogNormal, Uniform, read_latency_option
from devkit.emulator.latency import Latency
from devkit.emulator.settings import EmulatorSettings

OLD = "/v1beta/models/gemini-2.5-flash:generateContent"


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with emulator() as client:
        yield client


async def test_a_retired_model_is_not_found_until_it_is_back(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    changed = await http.put("/emulator/models", json={"retired": ["gemini-3.8-flash", MODEL]})
    gone = await http.post(GENERATE, json=body)
    gone_too = await http.post(CHAT, json=chat())
    await http.put("/emulator/models", json={})
    back = await http.post(GENERATE, json=body)

    assert changed.json()["retired"] == ["gemini-3.8-flash", MODEL]
    assert (gone.status_code, back.status_code) == (404, 200)
    assert gone.json()["error"]["message"].startswith("models/gemini-3.8-flash is not found for API version v1beta")
    assert (gone_too.status_code, gone_too.json()["error"]["message"]) == (400, "Model Not Exist")
    assert len(await billed(http)) == 1


async def test_a_rerouted_model_is_answered_by_another_that_tells_its_name(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    before = await http.post(OLD, json=body)
    await http.put(
        "/emulator/models", json={"rerouted": {"gemini-2.5-flash": "gemini-3.8-flash", MODEL: "deepseek-v4-pro"}}
    )
    answer, other = await http.post(OLD, json=body), await http.post(CHAT, json=chat())

    assert before.status_code == 404
    assert answer.json()["modelVersion"] == "gemini-3.8-flash-emulator"
    assert other.json()["model"] == "deepseek-v4-pro-emulator"
    assert [(call["model"], call["served_model"]) for call in await billed(http)] == [
        ("gemini-2.5-flash", "gemini-3.8-flash"),
        (MODEL, "deepseek-v4-pro"),
    ]
    known = (await http.get("/emulator/models")).json()["known"]
    assert "gemini-3.8-flash" in known["gemini"]
    assert MODEL in known["deepseek"]


@pytest.mark.parametrize(
    "changes",
    [[], {"gone": []}, {"retired": "x"}, {"retired": [1]}, {"rerouted": []}, {"rerouted": {"a": 1}}, {"retired": [""]}],
)
async def test_changes_that_make_no_sense_are_refused(http: httpx2.AsyncClient, changes: object) -> None:
    refused = await http.put("/emulator/models", json=changes)

    assert refused.status_code == 400
    assert refused.json()["error"]
    assert (await http.get("/emulator/models")).json()["retired"] == []


async def test_latencies_are_set_by_model_while_it_runs(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    hour = {"kind": "fixed", "seconds": 3600.0}
    set_ = await http.put("/emulator/latency", json={"models": {"gemini-3.8-flash": hour}})
    late = await http.post(GENERATE, json=body, headers={"x-server-timeout": "0.05"})
    soon = await http.post(CHAT, json=chat())
    reset = await http.put("/emulator/latency", json={})
    back = await http.post(GENERATE, json=body)

    assert set_.json()["models"] == {"gemini-3.8-flash": hour}
    assert (late.status_code, soon.status_code, back.status_code) == (504, 200, 200)
    start = {"kind": "lognormal", "median_seconds": 0.0, "p99_seconds": None}
    assert reset.json() == (await http.get("/emulator/latency")).json() == {"default": start, "models": {}}


@pytest.mark.parametrize(
    "latencies",
    [
        [],
        {"all": {}},
        {"models": []},
        {"default": {}},
        {"default": {"kind": "gamma"}},
        {"default": {"kind": "fixed"}},
        {"default": {"kind": "fixed", "seconds": -1}},
        {"default": {"kind": "fixed", "seconds": "1"}},
        {"default": {"kind": "fixed", "seconds": 1, "more": 2}},
        {"default": {"kind": "uniform", "least_seconds": 2, "most_seconds": 1}},
        {"default": {"kind": "lognormal", "median_seconds": 2, "p99_seconds": 1}},
    ],
)
async def test_latencies_that_make_no_sense_are_refused(http: httpx2.AsyncClient, latencies: object) -> None:
    refused = await http.put("/emulator/latency", json=latencies)

    assert refused.status_code == 400
    assert refused.json()["error"]


def test_a_model_draws_from_its_own_distribution() -> None:
    models: dict[str, Distribution] = {
        "fixed": Fixed(seconds=2),
        "uniform": Uniform(least_seconds=1, most_seconds=3),
        "lognormal": LogNormal(median_seconds=1, p99_seconds=10),
    }
    latency = Latency(Latencies(default=Fixed(seconds=7), models=models), seed=0)

    def drawn(model: str) -> list[float]:
        return sorted(latency.draw(number, model) for number in range(2000))

    assert {*drawn("fixed")} == {2}
    assert {*drawn("other")} == {7}
    assert drawn("uniform")[0] >= 1
    assert drawn("uniform")[-1] <= 3
    assert drawn("uniform")[1000] == pytest.approx(2, rel=0.1)
    assert drawn("lognormal")[1000] == pytest.approx(1, rel=0.1)
    assert drawn("lognormal")[1980] == pytest.approx(10, rel=0.3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fixed:0.5", ("", Fixed(seconds=0.5))),
        ("m=uniform:1,2", ("m", Uniform(least_seconds=1, most_seconds=2))),
        ("lognormal:2", ("", LogNormal(median_seconds=2))),
        ("lognormal:2,9", ("", LogNormal(median_seconds=2, p99_seconds=9))),
    ],
)
def test_an_option_names_a_distribution(text: str, expected: object) -> None:
    assert read_latency_option(text) == expected


@pytest.mark.parametrize(
    "text", ["", "2", "fixed", "fixed:", "fixed:x", "fixed:1,2", "uniform:1", "gamma:1", "fixed:nan"]
)
def test_an_option_that_is_no_distribution_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        read_latency_option(text)


def test_a_blank_model_stands_for_all_others() -> None:
    settings = EmulatorSettings(latencies={"": Fixed(seconds=3), "m": Fixed(seconds=4)})

    assert settings.all_latencies == Latencies(default=Fixed(seconds=3), models={"m": Fixed(seconds=4)})
