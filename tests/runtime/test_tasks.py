import asyncio

import pytest

from runtime.tasks import task_group


async def fail(error: Exception) -> None:
    raise error


async def test_an_expected_failure_leaves_as_itself() -> None:
    with pytest.raises(ConnectionError, match="gone"):
        async with task_group(ConnectionError) as tasks:
            tasks.create_task(fail(ConnectionError("gone")))
            await asyncio.Event().wait()


async def test_an_expected_failure_of_the_block_leaves_as_itself() -> None:
    with pytest.raises(ConnectionError, match="gone"):
        async with task_group(ConnectionError) as tasks:
            tasks.create_task(asyncio.Event().wait())
            raise ConnectionError("gone")


async def test_an_unexpected_failure_stays_in_its_group() -> None:
    with pytest.raises(ExceptionGroup) as failed:
        async with task_group(ConnectionError) as tasks:
            tasks.create_task(fail(ZeroDivisionError()))
            tasks.create_task(fail(ConnectionError()))

    assert failed.value.subgroup(ZeroDivisionError) is not None


async def test_a_block_that_ends_well_waits_for_its_tasks() -> None:
    done = asyncio.Event()
    async with task_group(ConnectionError) as tasks:
        tasks.create_task(asyncio.to_thread(done.set))

    assert done.is_set()


async def test_a_failure_while_the_block_waits_for_its_tasks_leaves_nobody_counted_as_cancelled() -> None:
    async def fail_later() -> None:
        await asyncio.sleep(0.01)
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        async with task_group(ConnectionError) as tasks:
            tasks.create_task(fail_later())
            tasks.create_task(asyncio.Event().wait())

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()
