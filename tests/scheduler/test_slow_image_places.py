"""A place for images that is slow holds up no dispatch."""

import datetime
from collections.abc import Collection, Mapping

from scheduler_peers import dial
from scheduler_world import World, looping
from stores import CLIENT, IMAGE_REF, NEW_IMAGE, insert, new_job

from devkit.virtual_time import in_virtual_time
from scheduler.fleet import Assignment


@in_virtual_time
async def test_jobs_of_many_clients_go_out_after_a_quarter_of_a_second_without_their_images() -> None:
    world = World()
    clients = [CLIENT, "second", "third"]
    asked: list[float] = []

    async def get_images(
        client_id: str, sha256s: Collection[str], *, within: datetime.timedelta | None = None
    ) -> Mapping[str, bytes]:
        assert within is not None
        asked.append(within.total_seconds())
        await world.clock.sleep(within.total_seconds())
        return {}

    world.store.get_images = get_images  # type: ignore[method-assign]
    for client_id in clients:
        await world.store.put_images(client_id, [NEW_IMAGE])
        await insert(world.store, client_id, [new_job(world.clock, images=(IMAGE_REF,))])
    executor = await dial(world, slots=3)
    began = world.clock.monotonic()

    async with looping(world.dispatcher.run):
        assignments = await executor.hear(Assignment, 3)

    assert [assignment.images for assignment in assignments] == [{}, {}, {}]
    assert sum(asked) < 0.3
    assert world.clock.monotonic() - began < 0.5
