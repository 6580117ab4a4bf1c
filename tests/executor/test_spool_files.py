import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from executor.ports import SpoolUnwritable
from executor.spool.file_spool import open_spool
from executor.spool.files import SpoolFiles
from executor.spool.records import frame, parse
from executor.work import AttemptId


def attempt(number: int) -> AttemptId:
    return AttemptId(f"job-{number}", 1)


def record(number: int, size: int = 0) -> tuple[AttemptId, bytes]:
    return attempt(number), json.dumps([number, "x" * size]).encode()


def attempt_of(payload: bytes) -> AttemptId:
    return attempt(json.loads(payload)[0])


def files_of(root: Path, boot: str, **options: int) -> SpoolFiles:
    return SpoolFiles(root, boot=boot, attempt_id=attempt_of, **options)


def die(files: SpoolFiles) -> None:
    """Let go as a killed process does: locks and file descriptors go, files stay."""
    for folder in {id(each.folder): each.folder for each in files._segments}.values():
        if folder is not files._own:
            folder.let_go()
    if files._own is not None:
        files._own.let_go()
    if files._current is not None:
        os.close(files._file)


def left_by_a_dead_boot(root: Path, *numbers: int, boot: str = "dead") -> Path:
    """Leave outcomes behind, and return the segment that holds them."""
    files = files_of(root, boot)
    files.open()
    files.append([record(number) for number in numbers])
    die(files)
    return next((root / boot).glob("*.log"))


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[SpoolFiles]:
    files = files_of(tmp_path, "alive")
    yield files
    files.close()


def test_a_spool_is_made_when_it_is_absent(tmp_path: Path) -> None:
    files = files_of(tmp_path / "a" / "b", "boot")

    assert files.open() == []
    files.append([record(1)])
    files.close()

    assert list((tmp_path / "a" / "b" / "boot").glob("*.log"))


def test_outcomes_of_a_dead_boot_are_adopted(tmp_path: Path, alive: SpoolFiles) -> None:
    left_by_a_dead_boot(tmp_path, 1, 2)

    assert alive.open() == [record(1)[1], record(2)[1]]


def test_outcomes_of_a_living_boot_are_left_alone(tmp_path: Path, alive: SpoolFiles) -> None:
    other = files_of(tmp_path, "other")
    other.open()
    other.append([record(1)])

    assert alive.open() == []

    other.close()


def test_an_adopted_boot_is_not_adopted_by_a_third(tmp_path: Path, alive: SpoolFiles) -> None:
    left_by_a_dead_boot(tmp_path, 1)
    alive.open()

    third = files_of(tmp_path, "third")
    assert third.open() == []
    third.close()


def test_what_was_adopted_by_one_that_died_too_is_adopted_again(tmp_path: Path, alive: SpoolFiles) -> None:
    left_by_a_dead_boot(tmp_path, 1)
    second = files_of(tmp_path, "second")
    second.open()
    die(second)

    assert alive.open() == [record(1)[1]]


def test_a_directory_goes_when_all_that_was_adopted_from_it_is_acknowledged(tmp_path: Path, alive: SpoolFiles) -> None:
    left_by_a_dead_boot(tmp_path, 1, 2)
    alive.open()

    alive.forget([attempt(1)])
    assert (tmp_path / "dead").exists()

    alive.forget([attempt(2)])
    assert not (tmp_path / "dead").exists()


@pytest.mark.parametrize(
    "torn", [b"\x09", b"\x00" * 64, frame([b"[3, 4]"])[:-1], frame([b"[3, 4]"]).replace(b"3", b"7")]
)
def test_a_torn_tail_costs_only_itself(tmp_path: Path, alive: SpoolFiles, torn: bytes) -> None:
    segment = left_by_a_dead_boot(tmp_path, 1, 2)
    with segment.open("ab") as file:
        file.write(torn)

    assert alive.open() == [record(1)[1], record(2)[1]]


def test_a_record_that_is_no_outcome_costs_only_itself(tmp_path: Path, alive: SpoolFiles) -> None:
    segment = left_by_a_dead_boot(tmp_path, 1)
    with segment.open("ab") as file:
        file.write(frame([b"gibberish", record(2)[1]]))

    assert alive.open() == [record(1)[1], record(2)[1]]


def test_a_segment_is_deleted_when_all_of_it_is_acknowledged(tmp_path: Path) -> None:
    files = files_of(tmp_path, "boot", max_segment_bytes=100)
    files.open()
    for number in range(3):
        files.append([record(number, size=100)])
    assert len(list((tmp_path / "boot").glob("*.log"))) == 3

    files.forget([attempt(0), attempt(1)])
    assert len(list((tmp_path / "boot").glob("*.log"))) == 1

    files.forget([attempt(2)])
    files.close()
    assert not (tmp_path / "boot").exists()


def test_the_present_segment_is_emptied_when_all_of_it_is_acknowledged(tmp_path: Path, alive: SpoolFiles) -> None:
    alive.open()
    alive.append([record(1)])
    alive.forget([attempt(1)])
    assert [each.stat().st_size for each in (tmp_path / "alive").glob("*.log")] == [0]

    alive.append([record(2)])
    (segment,) = (tmp_path / "alive").glob("*.log")
    assert parse(segment.read_bytes()) == ([record(2)[1]], 0)


def test_nothing_follows_what_could_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(tmp_path, "alive")
    files.open()
    files.append([record(1)])

    def half(file: int, data: bytes) -> int:
        written = real_write(file, bytes(data)[:5])
        monkeypatch.setattr(os, "write", no_space)
        return written

    def no_space(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    real_write = os.write
    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="No space left"):
        files.append([record(2)])
    with pytest.raises(OSError, match="No space left"):
        files.append([record(2)])
    monkeypatch.undo()

    files.append([record(2)])
    die(files)
    heir = files_of(tmp_path, "heir")
    assert heir.open() == [record(1)[1], record(2)[1]]
    heir.close()


def test_a_check_proves_that_records_can_be_written_and_leaves_none(
    tmp_path: Path, alive: SpoolFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    alive.open()
    monkeypatch.setattr(os, "write", no_space)
    with pytest.raises(OSError, match="No space left"):
        alive.check()
    monkeypatch.undo()

    alive.check()
    alive.append([record(1)])
    (segment,) = (tmp_path / "alive").glob("*.log")
    assert parse(segment.read_bytes()) == ([record(1)[1]], 0)


def test_a_write_that_comes_in_pieces_is_whole(
    tmp_path: Path, alive: SpoolFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive.open()
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real_write(file, bytes(data)[:3]))
    alive.append([record(1)])
    monkeypatch.undo()

    (segment,) = (tmp_path / "alive").glob("*.log")
    assert parse(segment.read_bytes()) == ([record(1)[1]], 0)


def test_a_dead_boot_that_cannot_be_read_does_not_keep_a_new_one_from_work(tmp_path: Path, alive: SpoolFiles) -> None:
    left_by_a_dead_boot(tmp_path, 1)
    (tmp_path / "dead" / "000000.log").mkdir()

    assert alive.open() == []
    alive.append([record(2)])


def test_a_directory_that_cannot_be_looked_at_keeps_nothing_back_and_is_told_of_once(
    tmp_path: Path, alive: SpoolFiles
) -> None:
    left_by_a_dead_boot(tmp_path, 1, boot="a-dead-boot")
    (tmp_path / "b-strange" / "lock").mkdir(parents=True)
    left_by_a_dead_boot(tmp_path, 2, boot="c-dead-boot")

    with structlog.testing.capture_logs() as logs:
        adopted = alive.open()
        assert alive.open() == []

    assert adopted == [record(1)[1], record(2)[1]]
    assert [log["folder"] for log in logs if log["event"] == "spool_unreadable"] == [str(tmp_path / "b-strange")]


def test_a_directory_that_no_boot_has_made_is_left_alone(tmp_path: Path, alive: SpoolFiles) -> None:
    (tmp_path / "lost+found").mkdir()

    assert alive.open() == []
    assert list((tmp_path / "lost+found").iterdir()) == []


def test_outcomes_whose_lock_is_lost_are_adopted_all_the_same(tmp_path: Path, alive: SpoolFiles) -> None:
    left_by_a_dead_boot(tmp_path, 1)
    (tmp_path / "dead" / "lock").unlink()

    assert alive.open() == [record(1)[1]]


async def test_a_spool_below_a_file_is_unwritable_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async with open_spool(files_of(tmp_path / "file" / "spool", "boot")) as spool:
        with pytest.raises(SpoolUnwritable, match="file"):
            await spool.open()
        with pytest.raises(SpoolUnwritable):
            await spool.write([record(1)], forget=[])
        with pytest.raises(SpoolUnwritable):
            await spool.check()


async def test_a_spool_that_was_closed_leaves_nothing_behind_if_all_is_acknowledged(tmp_path: Path) -> None:
    async with open_spool(files_of(tmp_path, "boot")) as spool:
        await spool.open()
        await spool.write([record(1), record(2)], forget=[])
        await spool.write([record(3)], forget=[attempt(1), attempt(2)])
        await spool.write([], forget=[attempt(3)])

    assert [each.name for each in tmp_path.iterdir()] == ["lock"]


class SpoolMachine(RuleBasedStateMachine):
    """Whatever happens, a boot that looks afterwards finds every outcome that was kept and not acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self._temporary = tempfile.TemporaryDirectory()
        self.root = Path(self._temporary.name)
        self.boots = 0
        self.next = 0
        self.needed: set[AttemptId] = set()
        self._start()

    def _start(self) -> None:
        self.boots += 1
        self.files = files_of(self.root, f"boot-{self.boots:03}", max_segment_bytes=60)
        found = {attempt_of(payload) for payload in self.files.open()}
        assert found >= self.needed
        self.files.forget(found - self.needed)

    @rule(count=st.integers(1, 4), size=st.integers(0, 40))
    def append(self, count: int, size: int) -> None:
        batch = [record(number, size) for number in range(self.next, self.next + count)]
        self.next += count
        self.files.append(batch)
        self.needed.update(attempt_id for attempt_id, _ in batch)

    @precondition(lambda self: self.needed)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.needed)), min_size=1))
        self.files.forget(chosen)
        self.needed -= chosen

    @rule(torn=st.binary(max_size=12))
    def die(self, torn: bytes) -> None:
        if self.files._current is not None:
            os.write(self.files._file, torn)
        die(self.files)
        self._start()

    @rule()
    def restart(self) -> None:
        self.files.close()
        self._start()

    @invariant()
    def no_more_files_than_needed(self) -> None:
        logs = list(self.root.glob("*/*.log"))
        assert len(logs) <= len(self.needed) + 1

    def teardown(self) -> None:
        self.files.close()
        self._temporary.cleanup()


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
