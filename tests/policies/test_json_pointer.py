import pytest

from policies.json_pointer import BadReference, Path, Target, dotted, follow, shown

DOCUMENT = {"$defs": {"a/b": {"type": "string"}, "m~n": 1, "with space": 2, "": 3}, "list": ["zero", "one"]}


@pytest.mark.parametrize(
    ("reference", "value", "path"),
    [
        ("#", DOCUMENT, ()),
        ("#/$defs/a~1b/type", "string", ("$defs", "a/b", "type")),
        ("#/$defs/m~0n", 1, ("$defs", "m~n")),
        ("#/%24defs/with%20space", 2, ("$defs", "with space")),
        ("#/$defs/", 3, ("$defs", "")),
        ("#/list/1", "one", ("list", 1)),
    ],
)
def test_a_reference_leads_to_its_value_and_place(reference: object, value: object, path: Path) -> None:
    assert follow(DOCUMENT, reference) == Target(value=value, path=path)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("#/$defs/none", "leads nowhere"),
        ("#/list/2", "leads nowhere"),
        ("#/list/01", "leads nowhere"),
        ("#/list/-", "leads nowhere"),
        ("#/list/0/x", "leads nowhere"),
        ("#anchor", "names an anchor"),
        ("https://example.com/schema.json#/$defs/a", "leads out of the schema"),
        ("other.json", "leads out of the schema"),
        ("", "leads out of the schema"),
        (7, "leads out of the schema"),
    ],
)
def test_a_reference_that_cannot_be_followed_says_why(reference: object, reason: str) -> None:
    with pytest.raises(BadReference, match=reason):
        follow(DOCUMENT, reference)


def test_a_dotted_path_is_short_enough_to_read() -> None:
    assert dotted(("properties", "lines", "anyOf", 1, "items")) == "properties.lines.anyOf[1].items"
    assert dotted(()) == ""
    assert dotted(("x" * 1000,)) == "x" * 63 + "…"


def test_a_shown_value_is_short_enough_to_read() -> None:
    assert shown("a") == "'a'"
    assert len(shown("a" * 1000)) == 64
