import dataclasses

from hypothesis import given
from hypothesis import strategies as st
from stores import SPEC

from scheduler import spec_json
from scheduler.jobs import Generation


@given(prompt=st.text(), labels=st.dictionaries(st.text(), st.text()), temperature=st.none() | st.floats(0, 2))
def test_a_spec_is_read_as_it_was_written(prompt: str, labels: dict[str, str], temperature: float | None) -> None:
    spec = dataclasses.replace(SPEC, prompt=prompt, labels=labels, generation=Generation(temperature=temperature))

    assert spec_json.decode(spec_json.encode(spec)) == spec


def test_white_space_in_the_schema_makes_no_other_request() -> None:
    tight, loose = (
        dataclasses.replace(SPEC, schema_json=text)
        for text in ('{"type":"object","a":1,"b":2}', '{ "type": "object",\n "a": 1, "b": 2 }')
    )

    assert spec_json.sha256(tight) == spec_json.sha256(loose)


def test_another_order_in_the_schema_makes_another_request() -> None:
    one, other = (dataclasses.replace(SPEC, schema_json=text) for text in ('{"a":1,"b":2}', '{"b":2,"a":1}'))

    assert spec_json.sha256(one) != spec_json.sha256(other)


def test_another_prompt_makes_another_request() -> None:
    assert spec_json.sha256(SPEC) != spec_json.sha256(dataclasses.replace(SPEC, prompt="Something else?"))
