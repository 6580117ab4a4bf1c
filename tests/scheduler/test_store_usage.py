"""Conformance of the stores: what was used is summed up as it is asked for, and a purge takes only labels off it."""

import datetime

import pytest
from stores import CLIENT
from usage_rows import MODEL, USED, UsageRows

from scheduler.jobs import Usage
from scheduler.memory_store import MemoryStore
from scheduler.ports import Store
from scheduler.records import Purged, UsageQuery, UsageRow

DAY = datetime.date(2026, 11, 24)
NEXT = DAY + datetime.timedelta(days=1)
OTHER_MODEL = "gemini-3.5-flash"


@pytest.fixture
def rows(store: Store, request: pytest.FixtureRequest) -> UsageRows:
    return UsageRows(store, None if isinstance(store, MemoryStore) else request.getfixturevalue("store_url"))


async def used(store: Store, *group_by: str, limit: int = 100, client_id: str = CLIENT) -> list[UsageRow]:
    query = UsageQuery(from_day=DAY, to_day=NEXT + datetime.timedelta(days=1), group_by=group_by)
    return list(await store.usage(client_id, query, limit=limit))


async def test_without_groups_everything_is_one_row_even_if_nothing_was_used(store: Store, rows: UsageRows) -> None:
    nothing = UsageRow(group={}, jobs=0, usage=Usage(), cost_usd=0.0, wasted_usd=0.0, unanswered_calls=0)
    assert await used(store) == [nothing]

    await rows.add(DAY, jobs=2, unanswered_calls=3)
    await rows.add(NEXT, user_id="another", model=OTHER_MODEL, labels={"team": "red"})

    twice = Usage(input_tokens=10, output_tokens=8, thinking_tokens=6, cached_tokens=4, image_tokens=2)
    assert await used(store) == [
        UsageRow(group={}, jobs=3, usage=twice, cost_usd=1.0, wasted_usd=0.5, unanswered_calls=3)
    ]


async def test_groups_are_sorted_by_their_values_in_the_order_that_was_asked_for(store: Store, rows: UsageRows) -> None:
    for user_id in ("b", "Z", "ä", "a"):
        await rows.add(DAY, user_id=user_id)
        await rows.add(NEXT, user_id=user_id)

    by_user = await used(store, "user", "day")
    by_day = await used(store, "day", "user")

    days = [str(DAY), str(NEXT)]
    assert [tuple(row.group.values()) for row in by_user] == [(u, d) for u in ("Z", "a", "b", "ä") for d in days]
    assert [tuple(row.group.values()) for row in by_day] == [(d, u) for d in days for u in ("Z", "a", "b", "ä")]
    assert list(by_user[0].group) == ["user", "day"]
    assert {row.usage for row in by_user} == {USED}
    assert len(await used(store, "user", "day", limit=3)) == 3


async def test_jobs_that_lack_a_label_are_a_group_of_their_own(store: Store, rows: UsageRows) -> None:
    await rows.add(DAY, labels={"team": "red", "stage": "test"}, jobs=1)
    await rows.add(DAY, labels={"team": "red"}, jobs=2)
    await rows.add(DAY, labels={"stage": "test"}, jobs=4)
    await rows.add(DAY, labels={"TEAM": "blue"}, jobs=8)

    by_team = await used(store, "label:team")
    by_both = await used(store, "label:team", "model", "label:stage")

    assert [(row.group, row.jobs) for row in by_team] == [({"label:team": ""}, 12), ({"label:team": "red"}, 3)]
    assert [(*row.group.values(), row.jobs) for row in by_both] == [
        ("", MODEL, "", 8),
        ("", MODEL, "test", 4),
        ("red", MODEL, "", 2),
        ("red", MODEL, "test", 1),
    ]


@pytest.mark.parametrize("name", ["it's", 'a "b" $1 {x}', "label:", "%s", "ä\n"])
async def test_the_name_of_a_label_may_be_anything(store: Store, rows: UsageRows, name: str) -> None:
    await rows.add(DAY, labels={name: "there"})

    [row] = await used(store, f"label:{name}")

    assert row.group == {f"label:{name}": "there"}


async def test_other_clients_and_other_days_do_not_count(store: Store, rows: UsageRows) -> None:
    await rows.add(DAY, client_id="another")
    await rows.add(DAY - datetime.timedelta(days=1))
    await rows.add(NEXT + datetime.timedelta(days=1))

    assert await used(store, "user") == []


async def test_a_purge_merges_a_users_usage_of_each_day_and_model(store: Store, rows: UsageRows) -> None:
    await rows.add(DAY, jobs=1, unanswered_calls=1)
    await rows.add(DAY, jobs=2, labels={"for": "them"}, unanswered_calls=2)
    await rows.add(DAY, jobs=4, labels={"for": "others"})
    await rows.add(NEXT, jobs=8, labels={"for": "them"})
    await rows.add(DAY, jobs=16, labels={"for": "them"}, model=OTHER_MODEL)
    await rows.add(DAY, jobs=32, labels={"for": "them"}, user_id="another")
    before = await used(store, "user", "model", "day")

    assert await store.purge_user(CLIENT, "user") == Purged()
    assert await store.purge_user(CLIENT, "user") == Purged()

    assert await used(store, "user", "model", "day") == before
    assert [(*row.group.values(), row.jobs) for row in await used(store, "user", "label:for")] == [
        ("another", "them", 32),
        ("user", "", 31),
    ]
