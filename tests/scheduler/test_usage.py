"""What a client may ask about its usage, and what it is told."""

import datetime
from collections.abc import Sequence

import pytest
from stores import CLIENT

from scheduler.errors import InvalidRequest, UsageTooLarge
from scheduler.jobs import Usage
from scheduler.records import UsageQuery, UsageRow
from scheduler.usage import MAX_ROWS, GetUsage

ROW = UsageRow(group={}, jobs=1, usage=Usage(), cost_usd=0.5, wasted_usd=0.0, unanswered_calls=0)
UTC = datetime.UTC
NOVEMBER, DECEMBER = datetime.datetime(2026, 11, 1, tzinfo=UTC), datetime.datetime(2026, 12, 1, tzinfo=UTC)
EAST = datetime.timezone(datetime.timedelta(hours=5))


class FakeUsageStore:
    """Has so many rows, and remembers what was asked for."""

    def __init__(self, rows: int = 1) -> None:
        self.rows = [ROW] * rows
        self.asked: list[tuple[str, UsageQuery]] = []

    async def usage(self, client_id: str, query: UsageQuery, *, limit: int) -> Sequence[UsageRow]:
        self.asked.append((client_id, query))
        return self.rows[:limit]


async def ask(
    store: FakeUsageStore,
    from_time: datetime.datetime | None = NOVEMBER,
    to_time: datetime.datetime | None = DECEMBER,
    group_by: Sequence[str] = (),
) -> Sequence[UsageRow]:
    return await GetUsage(store).rows(CLIENT, from_time=from_time, to_time=to_time, group_by=group_by)


async def refused(
    from_time: datetime.datetime | None = NOVEMBER,
    to_time: datetime.datetime | None = DECEMBER,
    group_by: Sequence[str] = (),
) -> list[str]:
    store = FakeUsageStore()
    with pytest.raises(InvalidRequest) as refusal:
        await ask(store, from_time, to_time, group_by)
    assert store.asked == []
    return [violation.path for violation in refusal.value.violations]


@pytest.mark.parametrize(
    ("from_time", "to_time", "days"),
    [
        (NOVEMBER, DECEMBER, (datetime.date(2026, 11, 1), datetime.date(2026, 12, 1))),
        (
            NOVEMBER + datetime.timedelta(hours=9),
            DECEMBER + datetime.timedelta(microseconds=1),
            (datetime.date(2026, 11, 1), datetime.date(2026, 12, 2)),
        ),
        (
            datetime.datetime(2026, 11, 1, tzinfo=EAST),
            datetime.datetime(2026, 11, 2, tzinfo=EAST),
            (datetime.date(2026, 10, 31), datetime.date(2026, 11, 2)),
        ),
        (
            datetime.datetime(2026, 11, 1, 6, tzinfo=EAST),
            datetime.datetime(2026, 11, 2, 4, tzinfo=EAST),
            (datetime.date(2026, 11, 1), datetime.date(2026, 11, 2)),
        ),
    ],
)
async def test_days_are_whole_and_in_utc(
    from_time: datetime.datetime, to_time: datetime.datetime, days: tuple[datetime.date, datetime.date]
) -> None:
    store = FakeUsageStore()

    assert await ask(store, from_time, to_time, ["user", "label:team"]) == [ROW]

    [(client_id, query)] = store.asked
    assert client_id == CLIENT
    assert (query.from_day, query.to_day) == days
    assert query.group_by == ("user", "label:team")


async def test_both_times_are_required() -> None:
    assert await refused(None, None) == ["from", "to"]
    assert await refused(from_time=None) == ["from"]
    assert await refused(to_time=None) == ["to"]


async def test_times_are_in_order_and_at_most_366_days_apart() -> None:
    assert await refused(NOVEMBER, NOVEMBER) == ["to"]
    assert await refused(DECEMBER, NOVEMBER) == ["to"]
    assert await refused(NOVEMBER, NOVEMBER + datetime.timedelta(days=366, microseconds=1)) == ["to"]
    assert await refused(NOVEMBER, datetime.datetime.max.replace(tzinfo=UTC)) == ["to"]
    assert await ask(FakeUsageStore(), NOVEMBER, NOVEMBER + datetime.timedelta(days=366)) == [ROW]


@pytest.mark.parametrize("group", ["", "users", "USER", "label", "label:", "label:" + "x" * 64, "label:a\x00b"])
async def test_an_unknown_group_is_refused_with_its_path(group: str) -> None:
    assert await refused(group_by=["user", group]) == ["group_by[1]"]


async def test_groups_are_each_there_once_and_at_most_four() -> None:
    assert await refused(group_by=["day", "label:a", "label:a", "day"]) == ["group_by[2]", "group_by[3]"]
    assert await refused(group_by=["day", "user", "model", "label:a", "label:b"]) == ["group_by"]
    assert await ask(FakeUsageStore(), group_by=["day", "user", "label:" + "x" * 63, "label:user"]) == [ROW]


async def test_more_rows_than_an_answer_holds_are_refused() -> None:
    assert len(await ask(FakeUsageStore(rows=MAX_ROWS))) == MAX_ROWS
    with pytest.raises(UsageTooLarge, match="fewer days"):
        await ask(FakeUsageStore(rows=MAX_ROWS + 1))
