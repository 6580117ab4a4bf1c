"""Bodies that are too large, too slow, or anything at all; and callers that do not wait for them."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from emulator_chats import CHAT, chat
from emulator_clients import GENERATE
from emulator_faults import billed, emulator, hit_by, received, script

from devkit.emulator.gzip_bombs import gzipped

MIB = 1 << 20


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with emulator() as client:
        yield client


def fault(kind: str, **fields: Any) -> dict[str, str]:
    return hit_by(json.dumps({"kind": kind, **fields}))


@pytest.mark.parametrize("path", [GENERATE, CHAT])
async def test_a_huge_body_is_a_good_answer_with_many_blanks_in_it(
    http: httpx2.AsyncClient, body: dict[str, Any], path: str
) -> None:
    sent = body if path == GENERATE else chat()

    answer = await http.post(path, json=sent, headers=fault("huge", size_bytes=3 * MIB + 7))

    assert len(answer.content) == int(answer.headers["content-length"]) == 3 * MIB + 7
    assert answer.json()
    assert [(call["fate"], call["fault"]) for call in await billed(http)] == [("whole", "huge")]


async def test_a_bomb_is_small_on_the_wire_and_goes_off_in_the_reader(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    answer = await http.post(GENERATE, json=body, headers=fault("gzip-bomb", size_bytes=5 * MIB + 3))

    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < 50_000
    assert len(answer.content) == 5 * MIB + 3
    assert answer.json()["candidates"]


@pytest.mark.parametrize("padding", [0, 1, MIB, 2 * MIB + 5])
def test_a_bomb_is_sound_gzip(padding: int) -> None:
    assert gzip.decompress(gzipped(b'{"a": 1}', padding)) == b"{" + b" " * padding + b'"a": 1}'


def test_a_bomb_of_a_gigabyte_takes_a_few_megabytes() -> None:
    bomb = gzipped(b"{}", 256 * MIB)

    assert len(bomb) < MIB
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert unpacker.decompress(bomb, 10) == b"{         "


@pytest.mark.parametrize("path", [GENERATE, CHAT])
async def test_a_trickling_body_comes_in_many_pieces(http: httpx2.AsyncClient, body: dict[str, Any], path: str) -> None:
    sent = body if path == GENERATE else chat()

    async with http.stream("POST", path, json=sent, headers=fault("trickle", seconds=0.25)) as answer:
        pieces = [piece async for piece in answer.aiter_raw()]

    assert len(pieces) > 10
    assert json.loads(b"".join(pieces))
    assert [call["delivered"] for call in await billed(http)] == [True]


async def test_a_caller_that_leaves_a_trickling_body_has_paid_for_a_part_of_it(
    http: httpx2.AsyncClient, body: dict[str, Any]
) -> None:
    async with http.stream("POST", GENERATE, json=body, headers=fault("trickle", seconds=10)) as answer:
        await anext(answer.aiter_raw())
    async with asyncio.timeout(20):
        while not (found := await billed(http))[0]["fate"]:
            pass

    assert [(call["fate"], call["delivered"]) for call in found] == [("cut", False)]
    assert [call["fate"] for call in await received(http)] == ["cut"]


async def test_a_raw_reply_is_what_was_asked_for(http: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    await script(
        http, "raw", count=1, status=418, body="short and stout", headers={"Content-Type": "text/tea", "X-A": "b"}
    )
    await script(http, "raw", count=1, body="[1, 2]")
    await script(http, "raw", count=1, body="{}", billed=False)
    await script(http, "raw", count=1, status=503, billed=True)

    teapot, array, free, paid = [await http.post(GENERATE, json=body) for _ in range(4)]

    assert (teapot.status_code, teapot.text, teapot.headers["x-a"]) == (418, "short and stout", "b")
    assert teapot.headers["content-type"] == "text/tea"
    assert (array.status_code, array.json(), free.json()) == (200, [1, 2], {})
    assert (paid.status_code, paid.content) == (503, b"")
    assert [call["call_number"] for call in await billed(http)] == [2, 4]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"kind": "raw", "status": 99}, "status must be"),
        ({"kind": "raw", "status": 204, "body": "x"}, "no body"),
        ({"kind": "raw", "body": "x" * (MIB + 1)}, "at most"),
        ({"kind": "raw", "headers": {"a": 1}}, "headers"),
        ({"kind": "raw", "headers": {"a b": "c"}}, "no header"),
        ({"kind": "raw", "headers": {"content-length": "7"}}, "no header"),
        ({"kind": "raw", "headers": {"a": "b\r\nc: d"}}, "printable"),
        ({"kind": "raw", "headers": {f"a{number}": "b" for number in range(21)}}, "at most 20"),
        ({"kind": "huge", "size_bytes": (1 << 30) + 1}, "size_bytes must be"),
        ({"kind": "gzip-bomb", "size_bytes": -1}, "size_bytes must be"),
        ({"kind": "503", "body": "x"}, "body says nothing"),
        ({"kind": "429-huge", "retry_delay": "1s"}, "retry_delay says nothing"),
        ({"kind": "rerouted"}, "needs a served_model"),
        ({"kind": "finish-reason"}, "needs a reason"),
        ({"kind": "503", "provider": "other"}, "provider must be"),
        ({"kind": "422", "provider": "gemini"}, "provider must be"),
    ],
)
async def test_faults_are_bounded(http: httpx2.AsyncClient, asked: dict[str, Any], words: str) -> None:
    refused = await http.post("/emulator/faults", json=asked)

    assert refused.status_code == 400
    assert words in refused.json()["error"]
