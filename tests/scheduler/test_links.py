import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scheduler_world import World
from stores import CLIENT, FakeTime, submit

from devkit.virtual_time import in_virtual_time
from scheduler.errors import InvalidRequest, JobNotFound, LinkExpired, LinkInvalid, StoreUnavailable
from scheduler.links import DEFAULT_LIFETIME, MAX_LIFETIME, MIN_LIFETIME, JobLinks, Links

SECRET = b"a secret of thirty-two bytes, say"
JOB = "01990000-0000-7000-8000-000000000001"
OTHER_JOB = "01990000-0000-7000-8000-000000000002"
HOUR = datetime.timedelta(hours=1)
MICROSECOND = datetime.timedelta(microseconds=1)


class SetTime:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.time = datetime.datetime(2026, 11, 24, 12, 0, 0, 123_456, tzinfo=datetime.UTC)

    def now(self) -> datetime.datetime:
        return self.time


class Secrets:
    """One secret for every name; away when told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False

    async def signing_secret(self, name: str) -> bytes:
        self.asked.append(name)
        if self.away:
            raise StoreUnavailable("away")
        return SECRET


def test_a_link_names_its_client_on_every_scheduler_with_the_secret() -> None:
    time = SetTime()
    link, expire_time = JobLinks(secret=SECRET, time=time).sign("shop", JOB, HOUR)

    assert JobLinks(secret=SECRET, time=time).client_of(link, JOB) == "shop"
    assert time.now() + HOUR - expire_time < datetime.timedelta(milliseconds=1)


def test_a_link_works_until_the_moment_it_expires() -> None:
    time = SetTime()
    links = JobLinks(secret=SECRET, time=time)
    link, expire_time = links.sign("shop", JOB, MIN_LIFETIME)

    time.time = expire_time - MICROSECOND
    assert links.client_of(link, JOB) == "shop"
    time.time = expire_time
    with pytest.raises(LinkExpired) as expired:
        links.client_of(link, JOB)
    assert expired.value.expire_time == expire_time


def test_a_link_shows_no_other_job() -> None:
    links = JobLinks(secret=SECRET, time=SetTime())
    link, _ = links.sign("shop", JOB, HOUR)

    with pytest.raises(LinkInvalid):
        links.client_of(link, OTHER_JOB)


def test_another_secret_makes_no_good_link() -> None:
    link, _ = JobLinks(secret=b"another one", time=SetTime()).sign("shop", JOB, HOUR)

    with pytest.raises(LinkInvalid):
        JobLinks(secret=SECRET, time=SetTime()).client_of(link, JOB)


def test_a_link_that_differs_in_any_one_character_is_none() -> None:
    links = JobLinks(secret=SECRET, time=SetTime())
    link, _ = links.sign("shop", JOB, HOUR)

    for index, was in enumerate(link):
        for other in "AQgwB0-_.!é":
            if other != was:
                with pytest.raises(LinkInvalid):
                    links.client_of(link[:index] + other + link[index + 1 :], JOB)


def test_a_link_that_is_longer_or_shorter_is_none() -> None:
    links = JobLinks(secret=SECRET, time=SetTime())
    link, _ = links.sign("shop", JOB, HOUR)

    for index in range(len(link)):
        for changed in (link[:index], link[index + 1 :], f"{link[:index]}!{link[index:]}"):
            with pytest.raises(LinkInvalid):
                links.client_of(changed, JOB)
    for suffix in ("=", " ", "\n", "."):
        with pytest.raises(LinkInvalid):
            links.client_of(link + suffix, JOB)


def test_a_forged_link_is_not_told_when_the_real_one_expires() -> None:
    time = SetTime()
    links = JobLinks(secret=SECRET, time=time)
    link, expire_time = links.sign("shop", JOB, HOUR)
    time.time = expire_time

    with pytest.raises(LinkInvalid):
        links.client_of(link[:-1], JOB)
    with pytest.raises(LinkInvalid):
        links.client_of(link, OTHER_JOB)


@given(link=st.text())
def test_no_text_at_all_is_a_link_by_chance(link: str) -> None:
    with pytest.raises(LinkInvalid):
        JobLinks(secret=SECRET, time=SetTime()).client_of(link, JOB)


@given(client_id=st.text(min_size=1), seconds=st.integers(1, 30 * 86_400))
def test_any_client_and_lifetime_come_back(client_id: str, seconds: int) -> None:
    links = JobLinks(secret=SECRET, time=SetTime())

    link, _ = links.sign(client_id, JOB, datetime.timedelta(seconds=seconds))

    assert links.client_of(link, JOB) == client_id


@in_virtual_time
async def test_a_client_gets_the_address_of_its_job() -> None:
    world = World()
    [job_id] = await submit(world.store, world.clock)
    links = Links(store=Secrets(), jobs=world.read, time=world.clock, public_url="https://jobs.example")

    url, expire_time = await links.create(CLIENT, job_id.upper(), None)

    address, _, link = url.partition("?link=")
    assert address == f"https://jobs.example/jobs/{job_id}"
    assert await links.client_of(link, job_id) == CLIENT
    assert expire_time - world.clock.now() <= DEFAULT_LIFETIME


@in_virtual_time
async def test_nobody_gets_a_link_to_another_clients_job() -> None:
    world = World()
    [job_id] = await submit(world.store, world.clock)
    links = Links(store=Secrets(), jobs=world.read, time=world.clock, public_url="")

    with pytest.raises(JobNotFound):
        await links.create("somebody else", job_id, None)
    with pytest.raises(InvalidRequest):
        await links.create(CLIENT, "42", None)


@pytest.mark.parametrize(
    "lifetime",
    [MIN_LIFETIME - MICROSECOND, MAX_LIFETIME + MICROSECOND, -HOUR, datetime.timedelta(0), datetime.timedelta.max],
)
@in_virtual_time
async def test_a_lifetime_out_of_bounds_is_refused_with_its_path(lifetime: datetime.timedelta) -> None:
    world = World()
    [job_id] = await submit(world.store, world.clock)
    links = Links(store=Secrets(), jobs=world.read, time=world.clock, public_url="")

    with pytest.raises(InvalidRequest) as refusal:
        await links.create(CLIENT, job_id, lifetime)

    assert [violation.path for violation in refusal.value.violations] == ["lifetime"]


@in_virtual_time
async def test_the_bounds_of_a_lifetime_are_allowed() -> None:
    world = World()
    [job_id] = await submit(world.store, world.clock)
    links = Links(store=Secrets(), jobs=world.read, time=world.clock, public_url="")

    for lifetime in (MIN_LIFETIME, MAX_LIFETIME):
        url, _ = await links.create(CLIENT, job_id, lifetime)
        assert url.startswith(f"/jobs/{job_id}?link=")


async def test_the_secret_is_read_once_and_not_before_the_database_answers() -> None:
    secrets = Secrets()
    secrets.away = True
    links = Links(store=secrets, jobs=World().read, time=FakeTime(), public_url="")
    with pytest.raises(StoreUnavailable):
        await links.client_of("anything", JOB)

    secrets.away = False
    for _ in range(3):
        with pytest.raises(LinkInvalid):
            await links.client_of("anything", JOB)

    assert secrets.asked == ["job-link", "job-link"]
