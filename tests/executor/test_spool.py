import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from executor.spool import DiskSpool
from executor.work import AttemptId


def attempt(number: int) -> AttemptId:
    return AttemptId(f"01990000-0000-7000-8000-{number:012}", 1)


async def crashed(folder: Path, *numbers: int, acknowledged: tuple[int, ...] = ()) -> None:
    """Leave behind what an executor leaves that dies after writing these records."""
    spool = DiskSpool(folder, boot="dead", segment_bytes=64)
    await spool.append([(attempt(number), f"outcome {number}".encode()) for number in numbers])
    await spool.acknowledge([attempt(number) for number in acknowledged])
    # The lock goes with the process; the files stay.
    shutil.copytree(folder / "dead", folder / "copy")
    spool.close()
    shutil.rmtree(folder / "dead", ignore_errors=True)


async def adopted(folder: Path, boot: str = "heir") -> list[tuple[AttemptId, bytes]]:
    heir = DiskSpool(folder, boot=boot)
    try:
        return list(await heir.adopt())
    finally:
        heir.close()


async def test_what_a_dead_executor_left_is_adopted_once(tmp_path: Path) -> None:
    await crashed(tmp_path, 1, 2)
    heir = DiskSpool(tmp_path, boot="heir")

    assert await heir.adopt() == [(attempt(1), b"outcome 1"), (attempt(2), b"outcome 2")]
    assert await heir.adopt() == []
    assert not (tmp_path / "copy").exists()
    heir.close()


async def test_what_was_adopted_is_on_the_heirs_own_disk(tmp_path: Path) -> None:
    await crashed(tmp_path, 1)
    await adopted(tmp_path)

    assert await adopted(tmp_path, boot="second heir") == [(attempt(1), b"outcome 1")]


async def test_a_living_executors_outcomes_are_left_alone(tmp_path: Path) -> None:
    living = DiskSpool(tmp_path, boot="living")
    await living.append([(attempt(1), b"mine")])

    assert await adopted(tmp_path) == []
    living.close()


@pytest.mark.parametrize("cut", [1, 5, 20])
async def test_a_torn_record_is_left_out_and_those_before_it_are_kept(tmp_path: Path, cut: int) -> None:
    await crashed(tmp_path, 1, 2)
    [segment] = (tmp_path / "copy").glob("*.spool")
    segment.write_bytes(segment.read_bytes()[:-cut])

    assert await adopted(tmp_path) == [(attempt(1), b"outcome 1")]


async def test_a_damaged_record_is_not_believed(tmp_path: Path) -> None:
    await crashed(tmp_path, 1)
    [segment] = (tmp_path / "copy").glob("*.spool")
    damaged = bytearray(segment.read_bytes())
    damaged[-1] ^= 1
    segment.write_bytes(damaged)

    assert await adopted(tmp_path) == []


async def test_a_full_segment_is_deleted_when_all_of_it_is_acknowledged(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path, boot="living", segment_bytes=1)
    for number in range(3):
        await spool.append([(attempt(number), b"x")])
    assert len(list((tmp_path / "living").glob("*.spool"))) == 3

    await spool.acknowledge([attempt(0), attempt(1)])

    assert len(list((tmp_path / "living").glob("*.spool"))) == 1
    spool.close()


async def test_an_executor_that_owes_nothing_leaves_nothing(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path, boot="done")
    await spool.append([(attempt(1), b"x")])
    await spool.acknowledge([attempt(1)])

    spool.close()

    assert list(tmp_path.iterdir()) == []


async def test_an_executor_that_owes_something_leaves_it(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path, boot="gone")
    await spool.append([(attempt(1), b"x"), (attempt(2), b"y")])
    await spool.acknowledge([attempt(1)])
    spool.close()

    assert (attempt(2), b"y") in await adopted(tmp_path)


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=25),
    segment_bytes=st.sampled_from([1, 150, 10_000]),
)
async def test_whatever_happened_before_a_crash_nothing_unacknowledged_is_lost(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, int]], segment_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = DiskSpool(folder, boot="dead", segment_bytes=segment_bytes)
    owed: dict[AttemptId, bytes] = {}
    for is_append, number in steps:
        if is_append and attempt(number) not in owed:
            owed[attempt(number)] = bytes([number])
            await spool.append([(attempt(number), bytes([number]))])
        elif not is_append:
            owed.pop(attempt(number), None)
            await spool.acknowledge([attempt(number)])
    shutil.copytree(folder / "dead", folder / "copy")
    spool.close()
    shutil.rmtree(folder / "dead", ignore_errors=True)

    assert owed.items() <= dict(await adopted(folder)).items()
