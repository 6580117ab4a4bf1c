import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.repetition import LEAST_CHARACTERS, LEAST_TIMES, WINDOW, ends_in_loop


@pytest.mark.parametrize(
    "text",
    [
        '{"total": 0.' + "3" * 2_000,
        '{"total": 1' + "0" * 60_000,
        '{"a": 1}' + "\n" * 3_000,
        '{"items": [' + '{"name": "Milk", "price": 1.99}, ' * 200,
        '{"items": [' + '{"name": "Milk", "price": 1.99}, ' * 200 + '{"name": "Mi',
        "A sentence of more than a hundred characters, which a model says once more as if it had never said it before. "
        * 20,
    ],
)
def test_an_end_that_is_one_piece_again_and_again_is_a_loop(text: str) -> None:
    assert ends_in_loop(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        json.dumps({"mask": [0] * 300}),
        json.dumps([{"a": None, "b": None}] * 40),
        json.dumps([{"name": f"Item {number}", "price": number * 1.5} for number in range(5_000)]),
        json.dumps(list(range(20_000))),
        '{"total": 0.' + "3" * 900,
        "3" * 5_000 + json.dumps({"a": list(range(200))}),
    ],
)
def test_ordinary_rows_of_equal_or_similar_items_are_no_loop(text: str) -> None:
    assert not ends_in_loop(text)


@pytest.mark.parametrize(("times", "is_loop"), [(LEAST_TIMES, True), (LEAST_TIMES - 1, False)])
def test_a_long_piece_must_come_often(times: int, is_loop: bool) -> None:
    piece = "".join(f"{number}, " for number in range(100, 150))

    assert ends_in_loop("before it " + piece * times) == is_loop


def shortest_period_is_a_loop(text: str) -> bool:
    """Say the same in the plainest way."""
    end = text[-WINDOW:]
    for period in range(1, len(end) // LEAST_TIMES + 1):
        least = max(LEAST_CHARACTERS, LEAST_TIMES * period)
        tail = end[-least:]
        if len(tail) == least and tail[period:] == tail[:-period]:
            return True
    return False


@given(
    before=st.text("ab{,1", max_size=50),
    piece=st.text("ab{,1", min_size=1, max_size=300),
    times=st.integers(0, 40),
    cut=st.integers(0, 300),
)
def test_a_loop_is_found_exactly_where_there_is_one(before: str, piece: str, times: int, cut: int) -> None:
    text = before + piece * times + piece[:cut]

    assert ends_in_loop(text) == shortest_period_is_a_loop(text)


@given(
    rows=st.lists(st.floats(allow_nan=False) | st.fixed_dictionaries({"a": st.integers(), "b": st.text(max_size=9)})),
    piece=st.sampled_from([0, {"a": None}, [1, 2]]),
    data=st.data(),
)
def test_short_rows_of_equal_items_raise_no_alarm(rows: list[object], piece: object, data: st.DataObject) -> None:
    most = (LEAST_CHARACTERS - 100) // len(json.dumps(piece) + ", ")
    equal = [piece] * data.draw(st.integers(0, most))

    assert not ends_in_loop(json.dumps([*rows, "something else, before the equal ones", *equal]))


def test_only_the_end_is_looked_at() -> None:
    assert not ends_in_loop("3" * 100_000 + "".join(f"{number}," for number in range(WINDOW)))
