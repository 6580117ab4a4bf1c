import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.gemini import answer
from executor.ports import ModelAnswer, UnreadableAnswer
from executor.work import Usage

MAX_NAME = 256
NAMES = ["candidates", "content", "parts", "text", "thought", "finishReason", "promptFeedback", "blockReason"]
MORE_NAMES = ["usageMetadata", "serviceTier", "promptTokenCount", "promptTokensDetails", "modelVersion", "responseId"]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("x" * 1_000),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, *MORE_NAMES]), inner, max_size=5)
    ),
)


def check(body: str) -> None:
    try:
        found = answer.read(body)
    except UnreadableAnswer as unreadable:
        kept = len(unreadable.body)
    else:
        kept = 0
        names = (found.finish_reason, found.block_reason, found.model_version, found.response_id, found.service_tier)
        assert all(len(name) <= 2 * MAX_NAME for name in names)
        assert len(found.text) <= len(body)
    assert kept <= 64 * 1024


@given(body=JSON.map(json.dumps) | st.text() | st.binary().map(lambda raw: raw.decode(errors="replace")))
def test_whatever_a_200_holds_it_is_read_or_unreadable(body: str) -> None:
    check(body)


@given(body=JSON)
def test_whatever_a_candidate_holds_it_is_read(body: object) -> None:
    check(json.dumps({"candidates": [body], "usageMetadata": body, "promptFeedback": body}))


@pytest.mark.parametrize("body", ["[" * 1_000_000, '{"a": [' + "[]," * 100_000 + "0]}", "1" * 300_000, '"' * 300_000])
def test_large_bodies_that_are_no_answer_are_read_or_unreadable(body: str) -> None:
    check(body)


@pytest.mark.parametrize("size", [10, 100_000, 1_000_000])
def test_small_and_large_answers_are_read_alike(size: int) -> None:
    text = '\u00e9\n"' * (size // 3)
    body = json.dumps({"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}]})

    assert answer.read(body) == ModelAnswer(text=text, finish_reason="STOP")


@pytest.mark.parametrize("tokens", [-1, 10**9 + 1, 2**63 - 1])
def test_tokens_that_no_call_can_have_used_count_as_nothing(tokens: int) -> None:
    body = json.dumps({"usageMetadata": {"promptTokenCount": tokens, "candidatesTokenCount": 7}})

    assert answer.read(body).usage == Usage(output_tokens=7)
