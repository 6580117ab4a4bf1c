import gzip
import itertools
import os
from collections.abc import AsyncIterator

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor import bounded_bodies
from executor.http_calls import MAX_ANSWER_BYTES, MAX_ERROR_BYTES
from executor.ports import UnreadableAnswer


class Chunks(httpx2.AsyncByteStream):
    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk


async def read(*chunks: bytes, encoding: str = "", status: int = 200) -> list[bytes]:
    response = httpx2.Response(status, headers={"content-encoding": encoding}, stream=Chunks(*chunks))
    await bounded_bodies.bound(response)
    return [chunk async for chunk in response.aiter_raw()]


async def test_a_few_bytes_that_stand_for_many_are_inflated_piece_by_piece() -> None:
    pieces = await read(gzip.compress(bytes(MAX_ANSWER_BYTES)), encoding="gzip")

    assert sum(map(len, pieces)) == MAX_ANSWER_BYTES
    assert max(map(len, pieces)) <= MAX_ERROR_BYTES


async def test_a_body_may_be_as_long_as_its_bound_and_no_longer() -> None:
    half = os.urandom(MAX_ANSWER_BYTES // 2)

    assert b"".join(await read(half, half)) == half + half
    with pytest.raises(UnreadableAnswer, match="larger than 2 MiB"):
        await read(half, half, b"x")


async def test_an_errors_body_ends_at_its_bound() -> None:
    body = b"".join(await read(b"a" * 40_000, b"b" * 40_000, b"c" * 40_000, status=500))

    assert body == b"a" * 40_000 + b"b" * (MAX_ERROR_BYTES - 40_000)


@given(body=st.binary(max_size=3_000), cuts=st.lists(st.integers(0, 3_000), max_size=5))
async def test_what_was_compressed_comes_as_it_was(body: bytes, cuts: list[int]) -> None:
    packed = gzip.compress(body)
    edges = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    chunks = [packed[begin:end] for begin, end in itertools.pairwise(edges)]

    assert b"".join(await read(*chunks, encoding="gzip")) == body


@given(body=st.binary(max_size=300), status=st.sampled_from([200, 400, 503]), encoding=st.text(max_size=9))
async def test_whatever_comes_is_read_or_unreadable(body: bytes, status: int, encoding: str) -> None:
    name = encoding.encode("ascii", errors="ignore").decode().replace("\r", "").replace("\n", "")
    try:
        pieces = await read(body, encoding=name, status=status)
    except UnreadableAnswer:
        pieces = []
        assert status == 200

    assert sum(map(len, pieces)) <= MAX_ANSWER_BYTES
