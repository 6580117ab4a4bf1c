"""Which calls a fault hits: by its place in the script, by provider, tier or model, or by what the call itself asks for."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from emulator_chats import CHAT, MODEL, chat
from emulator_clients import GENERATE
from emulator_faults import emulator, hit_by, received, script

from devkit.emulator.fault_kinds import FaultKind, providers_of

PATHS = {"gemini": GENERATE, "deepseek": CHAT}
FIELDS: dict[FaultKind, dict[str, Any]] = {
    FaultKind.REROUTED: {"served_model": "other"},
    FaultKind.FINISH_REASON: {"reason": "SPII"},
    FaultKind.RAW: {"status": 418},
    FaultKind.HUGE_BODY: {"size_bytes": 100_000},
    FaultKind.GZIP_BOMB: {"size_bytes": 100_000},
    FaultKind.TRICKLE: {"seconds": 0.05},
    FaultKind.SLOW: {"seconds": 0.01},
}
# They break no answer, or they never give one.
WAITS = (
    FaultKind.SLOW,
    FaultKind.HOLD,
    FaultKind.HANG,
    FaultKind.TRICKLE,
    FaultKind.RESET_BEFORE,
    FaultKind.RESET_AFTER,
)
NOT_CHANGING = {FaultKind.HUGE_BODY, FaultKind.GZIP_BOMB, FaultKind.TRUNCATED, *WAITS}


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with emulator() as client:
        yield client


def in_flex(body: dict[str, Any]) -> dict[str, Any]:
    return body | {"serviceTier": "flex"}


def comparable(answer: httpx2.Response) -> tuple[int, bytes, str]:
    """Return what two good answers to the same call have in common."""
    content = answer.content
    if answer.headers["content-type"].startswith("application/json"):
        try:
            document = answer.json()
        except (ValueError, RecursionError):
            return answer.status_code, content, ""
        if isinstance(document, dict):
            for name in ("responseId", "id", "created"):
                document.pop(name, None)
            content = repr(document).encode(errors="surrogatepass")
    return answer.status_code, content, answer.headers.get("retry-after", "")


@pytest.mark.parametrize(
    ("kind", "provider"),
    [(kind, provider) for kind in FaultKind if kind not in NOT_CHANGING for provider in sorted(providers_of(kind))],
)
async def test_every_kind_does_something_to_every_provider_it_is_known_of(
    http: httpx2.AsyncClient, body: dict[str, Any], kind: FaultKind, provider: str
) -> None:
    sent = chat() if provider == "deepseek" else body | {"serviceTier": "priority"}
    # The first time a prompt is not in DeepSeek's cache.
    await http.post(PATHS[provider], json=sent)
    good = await http.post(PATHS[provider], json=sent)
    await script(http, kind, provider=provider, **FIELDS.get(kind, {}))

    hit = await http.post(PATHS[provider], json=sent)

    assert comparable(hit) != comparable(good)
    assert [call["fault"] for call in await received(http)] == ["", "", kind]


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if len(providers_of(kind)) == 1])
async def test_a_kind_that_only_one_provider_knows_spares_the_other(
    http: httpx2.AsyncClient, body: dict[str, Any], kind: FaultKind
) -> None:
    await script(http, kind)
    [known] = providers_of(kind)

    spared = await (http.post(CHAT, json=chat()) if known == "gemini" else http.post(GENERATE, json=body))

    assert spared.status_code == 200
    assert [call["fault"] for call in await received(http)] == [""]


async def test_a_fault_may_be_aimed_at_a_provider_a_model_or_a_tier(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    async def statuses() -> list[int]:
        sent = [
            await http.post(GENERATE, json=body),
            await http.post(GENERATE, json=in_flex(body)),
            await http.post(CHAT, json=chat()),
        ]
        await http.delete("/emulator/faults")
        return [answer.status_code for answer in sent]

    await script(http, "503", service_tier="FLEX")
    assert await statuses() == [200, 503, 200]
    await script(http, "503", provider="deepseek")
    assert await statuses() == [200, 200, 503]
    await script(http, "503", model=MODEL)
    assert await statuses() == [200, 200, 503]
    await script(http, "503", provider="gemini", service_tier="standard")
    assert await statuses() == [503, 200, 200]


async def test_a_call_may_ask_for_a_fault_of_its_own(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await script(http, "500", count=1)

    asked = await http.post(GENERATE, json=body, headers=hit_by("503"))
    scripted = await http.post(GENERATE, json=body)

    assert (asked.status_code, scripted.status_code) == (503, 500)


@pytest.mark.parametrize("header", ["418", "", "{}", "{", '{"kind": "raw", "status": 1}', "422", "rerouted"])
async def test_a_call_that_asks_for_no_fault_is_told_so(
    http: httpx2.AsyncClient, body: dict[str, Any], header: str
) -> None:
    refused = await http.post(GENERATE, json=body, headers=hit_by(header))

    assert refused.status_code == 400
    assert refused.json()["error"].startswith("x-emulator-fault: ")
    assert await received(http) == []


@pytest.mark.parametrize("kind", FaultKind)
def test_the_page_has_a_line_on_every_kind_and_who_fails_like_that(kind: FaultKind) -> None:
    page = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()
    letters = {"gemini": "G", "deepseek": "D"}

    providers = " ".join(letters[name] for name in ("gemini", "deepseek") if name in providers_of(kind))
    assert f"\n| `{kind}` | {providers} |" in page
