"""What was a user's is gone from everywhere, whatever runs at that moment."""

import asyncio

import asyncpg
import pytest
from fleet_calls import Fleet, called, finished, succeeded
from system_calls import SCHEMA

from visionjobs import FailedPrecondition, Image, JobSpec, JobState, JobView

MODEL = "gemini-3.5-flash"
CLIENT = "anonymous"
USER = "somebody who leaves"
MARK = "sesame-5d1f7e"
FORGOTTEN_WITHIN_SECONDS = 2.0


@pytest.fixture
def image(photograph: bytes) -> bytes:
    """An image that no other test uses, with the mark behind its end."""
    return photograph + MARK.encode()


def spec_of(image: bytes, prompt: str, user_id: str = USER) -> JobSpec:
    return JobSpec(
        user_id=user_id,
        images=[Image(data=image)],
        prompt=f"{prompt} {MARK}",
        system_instruction=MARK,
        response_schema=SCHEMA,
        labels={"mark": MARK},
        model=MODEL,
    )


async def tables_with_mark(url: str) -> set[str]:
    """Return the tables that hold the mark in a text, in JSON or in bytes."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch("SELECT relname FROM pg_stat_user_tables")
        count = "SELECT count(*) FROM {} t WHERE t::text LIKE ANY ($1)"
        marks = [f"%{MARK}%", f"%{MARK.encode().hex()}%"]
        found = {row["relname"] for row in tables if await connection.fetchval(count.format(row["relname"]), marks)}
    finally:
        await connection.close()
    return {table.split("_2")[0] for table in found}


async def test_a_purge_in_the_middle_of_a_call_leaves_nothing_anywhere(
    fleet: Fleet, image: bytes, photograph: bytes
) -> None:
    first, second = fleet.clients
    url = fleet.stack.database_url
    done = await first.submit(spec_of(image, "Before?"))
    [done] = await finished(first, [done.job_id])
    # From now on the first scheduler remembers it.
    await first.get(done.job_id)
    await fleet.emulator.script("hold", model=MODEL)
    running = await first.submit(spec_of(image, "During?"))
    await called(fleet, running)
    assert await tables_with_mark(url) >= {"jobs", "images"}

    purged = await second.purge_user(CLIENT, USER)

    assert (purged.jobs, purged.results, purged.images, purged.cancelled_jobs, purged.kept_images) == (2, 1, 1, 1, 0)
    await fleet.emulator.release()
    # Meanwhile the stopped call says what it has to say.
    other = await first.submit(
        JobSpec(user_id="e2e", images=[Image(data=photograph)], prompt="After?", response_schema=SCHEMA, model=MODEL)
    )
    assert succeeded(await finished(first, [other.job_id]))
    assert await tables_with_mark(url) == set()
    async with asyncio.timeout(FORGOTTEN_WITHIN_SECONDS):
        while (await first.get(done.job_id)).spec.prompt:
            await asyncio.sleep(0.05)
    jobs = await second.batch_get([done.job_id, running.job_id], view=JobView.FULL)
    assert [(job.state, job.spec.prompt, job.spec.labels) for job in jobs] == [
        (JobState.SUCCEEDED, "", {}),
        (JobState.CANCELLED, "", {}),
    ]
    assert jobs[0].result is not None
    assert (jobs[0].result.output_json, jobs[0].result.cost_usd > 0) == ("", True)
    assert {job.job_id async for job in second.list(user_id=USER)} == {done.job_id, running.job_id}
    with pytest.raises(FailedPrecondition) as refusal:
        await first.retry(done.job_id)
    assert refusal.value.reason == "JOB_PURGED"
