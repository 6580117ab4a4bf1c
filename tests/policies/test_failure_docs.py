"""docs/failures.md says of every row and of the ladder what the policies do."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from policies import provider_failures
from policies.answer_failures import ANSWER_ROWS, TRANSPORT_ROWS
from policies.breaker import Health
from policies.failure_rows import Row
from policies.ladder import MOST_RETRIES
from policies.status_failures import STATUS_ROWS

PAGE = Path(__file__).parents[2] / "docs" / "failures.md"
HEAD = (
    "| row | provider | what comes | kind | the job | paid | breaker | lane, executor | message |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)
BREAKER = {Health.FAILED: "a failure", Health.ANSWERED: "an answer", Health.UNKNOWN: "nothing"}


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the part of the page that tells of these rows."""
    return HEAD + "".join(f"| {' | '.join(_cells(row))} |\n" for row in rows)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        f"`{row.name}`",
        row.provider or "all",
        row.comes,
        f"{row.kind}{f' ({row.flaw})' if row.flaw else ''}",
        _job(row),
        row.paid.value,
        BREAKER[provider_failures.health_of(row.kind, called=True)],
        _lane(row),
        (row.stop or row.message).replace("{words}", "…"),
    )


def _job(row: Row) -> str:
    if row.charged:
        return "tried again, charged" + (", as the ladder allows" if row.flaw else "")
    if row.retryable:
        return "waits at its place, not charged"
    return "FAILED" + ("; the schema is suspected" if row.schema_suspected else "")


def _lane(row: Row) -> str:
    if row.refuses_executor:
        return "the executor stops calling the provider"
    return row.lane.value


@pytest.mark.parametrize("rows", [STATUS_ROWS, TRANSPORT_ROWS, ANSWER_ROWS])
def test_the_page_has_the_table_of_the_policies(rows: Sequence[Row]) -> None:
    table = as_markdown(rows)

    assert table in PAGE.read_text(), f"docs/failures.md should say:\n{table}"


def test_the_page_has_no_other_rows() -> None:
    told = [line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]

    assert told == [row.name for row in provider_failures.TABLE]


def test_the_page_tells_of_every_flaw() -> None:
    lines = PAGE.read_text().splitlines()

    for flaw, retries in MOST_RETRIES.items():
        assert any(line.startswith(f"| {flaw} | {retries} |") for line in lines), flaw
