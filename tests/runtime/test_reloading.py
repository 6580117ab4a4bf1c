from pathlib import Path

import pytest
import structlog

from runtime.reloading import Reloaded, UnusableFile


def number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        raise UnusableFile(f"{path.name} holds no number.") from None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


def test_a_file_that_changed_is_read_anew(file: Path) -> None:
    reloaded = Reloaded("number", [file], lambda: number(file))
    file.write_text("22")

    assert reloaded.current() == 22


def test_each_state_of_a_file_is_read_once(file: Path) -> None:
    reads: list[int] = []

    def read() -> int:
        reads.append(number(file))
        return reads[-1]

    reloaded = Reloaded("number", [file], read)

    assert [reloaded.current(), reloaded.current()] == [1, 1]
    file.write_text("22")
    assert [reloaded.current(), reloaded.current()] == [22, 22]
    assert reads == [1, 22]


def test_a_link_that_is_turned_to_other_files_is_a_change(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "other"
    other.write_text("2")
    link = tmp_path / "link"
    link.symlink_to(file)
    reloaded = Reloaded("number", [link], lambda: number(link))
    turned = tmp_path / "turned"
    turned.symlink_to(other)
    turned.rename(link)

    assert reloaded.current() == 2


def test_the_last_good_content_stays_and_one_warning_tells_why(file: Path) -> None:
    reloaded = Reloaded("number", [file], lambda: number(file))
    with structlog.testing.capture_logs() as logged:
        file.write_text("half a num")
        assert [reloaded.current(), reloaded.current()] == [1, 1]
        file.unlink()
        assert reloaded.current() == 1
        file.write_text("3")
        assert reloaded.current() == 3
        file.write_text("half again")
        assert reloaded.current() == 3

    warnings = [each for each in logged if each["log_level"] == "warning"]
    assert [each["role"] for each in warnings] == ["number", "number"]
    assert warnings[0]["reason"] == "number holds no number."


def test_what_is_not_in_order_at_first_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile):
        Reloaded("number", [tmp_path / "missing"], lambda: number(tmp_path / "missing"))
