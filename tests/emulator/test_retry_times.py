"""The log of calls tells until when callers were to stay away, and who came sooner."""

import asyncio
import datetime
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from emulator_clients import GENERATE
from emulator_faults import emulator, received, script

from devkit.emulator.reply import Reply
from devkit.emulator.retry_times import GRACE, RetryTimes, told_retry_time

NOON = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)
LITE = "/v1/models/gemini-3.5-flash-lite:generateContent"


def after(seconds: float) -> datetime.datetime:
    return NOON + datetime.timedelta(seconds=seconds)


def refusal(delay: object = None, *, header: str = "", status: int = 429) -> Reply:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    body = json.dumps({"error": {"details": [] if delay is None else details}}).encode()
    return Reply(body=body, status=status, headers={"retry-after": header} if header else {})


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (refusal("26s"), 26),
        (refusal("600.5s"), 600.5),
        (refusal(header="7"), 7),
        (refusal(header="Fri, 20 Nov 2026 12:01:00 GMT"), 60),
        (refusal("5s", header="7"), 7),
        (refusal("9s", header="7"), 9),
        (refusal(), None),
        (refusal("-5s"), None),
        (refusal("soon"), None),
        (refusal(7), None),
        (refusal("nans"), None),
        (refusal("315576000000s"), None),
        (refusal(header="later"), None),
        (refusal(header="Fri, 20 Nov 2026 11:59:00 GMT"), None),
        (refusal("26s", status=503), None),
        (Reply(status=429, body=b"no json"), None),
        (Reply(status=429, body=b'{"error": {"details": [1, {}]}}'), None),
        (Reply(status=429, body=b"[" * 200_000), None),
        (Reply(status=429, body=b'[{"error": {"details": [{"retryDelay": "3s"}]}}]'), 3),
    ],
)
def test_a_429_tells_a_time_by_detail_or_header_and_the_longest_wins(reply: Reply, seconds: float | None) -> None:
    expected = None if seconds is None else after(seconds)

    assert told_retry_time(reply, NOON) == expected


def test_who_begins_between_being_told_and_the_time_told_comes_too_soon() -> None:
    times = RetryTimes()
    times.tell("model", after(10), after(0))

    begun = (-1, 0.05, 0.051, 9.9, 9.96, 10, 11)
    assert [times.forbids("model", after(seconds)) for seconds in begun] == [
        *(False, True, True, True),
        *(False, False, False),
    ]
    assert not times.forbids("other", after(5))


def test_a_shorter_time_told_later_does_not_shorten_a_longer_one() -> None:
    times = RetryTimes()
    times.tell("model", after(10), after(0))
    times.tell("model", after(3), after(2))

    assert times.forbids("model", after(5))
    assert times.forbids("model", after(1))


def test_a_call_on_the_way_is_judged_by_what_was_told_before_it() -> None:
    times = RetryTimes()
    times.tell("model", after(1), after(0))
    times.tell("model", after(10), after(2))

    assert not times.forbids("model", after(1.5))


def test_what_was_told_long_ago_is_forgotten_in_the_end() -> None:
    times = RetryTimes()
    for number in range(10_000):
        times.tell("model", after(number + 1), after(number))

    assert times.forbids("model", after(9_999.5))
    assert not times.forbids("model", after(10_001))


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with emulator() as client:
        yield client


async def violations(http: httpx2.AsyncClient, **query: str) -> int:
    found: int = (await http.get("/emulator/calls", params=query)).json()["violations"]
    return found


async def let_pass(time: datetime.datetime) -> None:
    """Come back when it is later than this."""
    while datetime.datetime.now(datetime.UTC) <= time:
        await asyncio.sleep(0)


async def test_calls_before_the_time_told_are_counted_for_their_model_alone(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    await script(http, "429", count=1, retry_seconds=3600)
    await http.post(GENERATE, json=body)
    [refused] = await received(http)
    until = datetime.datetime.fromisoformat(refused["retry_until"])
    await let_pass(datetime.datetime.fromisoformat(refused["time"]) + 2 * GRACE)

    await http.post(GENERATE, json=body)
    await http.post(LITE, json=body)

    assert 3599 < (until - datetime.datetime.fromisoformat(refused["time"])).total_seconds() < 3610
    assert [call["too_soon"] for call in await received(http)] == [False, True, False]
    assert await violations(http) == 1
    assert await violations(http, model="gemini-3.5-flash-lite") == 0
    await http.delete("/emulator/calls")
    await http.post(GENERATE, json=body)
    assert await violations(http) == 0


async def test_a_call_that_was_on_its_way_when_another_was_refused_is_no_violation(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    await script(http, "hold", count=1)
    held = asyncio.create_task(http.post(GENERATE, json=body))
    await received(http, count=1)
    await script(http, "429", count=1, retry_seconds=3600)

    refused = await http.post(GENERATE, json=body)
    await http.post("/emulator/release")

    assert (refused.status_code, (await held).status_code) == (429, 200)
    assert await violations(http) == 0


async def test_whoever_waits_as_told_violates_nothing(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await script(http, "429", count=1, retry_seconds=0.2)
    await http.post(GENERATE, json=body)
    [refused] = await received(http)
    await let_pass(datetime.datetime.fromisoformat(refused["retry_until"]))

    await http.post(GENERATE, json=body)

    assert await violations(http) == 0
