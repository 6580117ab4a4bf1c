"""Images that are kept in a directory which two schedulers share, over the real processes."""

import asyncio
from pathlib import Path

from fleet_calls import finished, fleet_of, succeeded
from system_calls import SCHEMA, StartStack

from visionjobs import Image, JobSpec


def spec_of(data: bytes, prompt: str) -> JobSpec:
    return JobSpec(user_id="somebody", images=[Image(data=data)], prompt=prompt, response_schema=SCHEMA)


async def test_small_and_large_images_reach_the_model_and_a_purge_removes_their_files(
    start_stack: StartStack, photograph: bytes, tmp_path: Path
) -> None:
    home = tmp_path / "images"
    # Bytes behind the end of an image are no part of it; the second one is too large to go along with its job.
    images = [photograph, photograph + bytes(200_000)]
    async with (
        start_stack(schedulers=2, environment={"SCHEDULER_IMAGE_STORE": f"file://{home}"}) as running,
        fleet_of(running) as fleet,
    ):
        first, second = fleet.clients
        jobs = [await first.submit(spec_of(data, f"What? {index}")) for index, data in enumerate(images)]

        assert succeeded(await finished(second, [job.job_id for job in jobs]))
        files = [path for path in home.glob("*/*") if path.is_file()]
        assert sorted(path.read_bytes() for path in files) == sorted(images)

        purged = await second.purge_user("anonymous", "somebody")

        assert purged.images == 2
        async with asyncio.timeout(10):
            while any(home.glob("*/*")):
                await asyncio.sleep(0.05)
