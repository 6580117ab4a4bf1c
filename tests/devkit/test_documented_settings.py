"""docs/settings.md names every setting, and no other."""

import re
from pathlib import Path

import pytest

from executor.settings import ExecutorSettings
from runtime.settings import ProgramSettings
from scheduler.settings import SchedulerSettings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def documented(prefix: str) -> set[str]:
    """Return the settings that begin with a prefix; `_B` after `X_A` in the same row stands for X_B."""
    names: set[str] = set()
    for row in PAGE.read_text().splitlines():
        last = ""
        for name in re.findall(r"`(_?[A-Z][A-Z_]+[A-Z])`", row.split(" | ")[0]):
            if name.startswith("_"):
                stem = last.removesuffix(name)
                while stem and f"{stem}{name}" not in all_names():
                    stem = stem.rpartition("_")[0]
                names.add(f"{stem}{name}")
            else:
                last = name
                names.add(name)
    return {name for name in names if name.startswith(prefix)}


def all_names() -> set[str]:
    return names_of(SchedulerSettings, "SCHEDULER_") | names_of(ExecutorSettings, "EXECUTOR_")


def names_of(settings: type[ProgramSettings], prefix: str) -> set[str]:
    return {
        f"{prefix}{name}".upper() for name, field in settings.model_fields.items() if field.validation_alias is None
    }


@pytest.mark.parametrize(("settings", "prefix"), [(SchedulerSettings, "SCHEDULER_"), (ExecutorSettings, "EXECUTOR_")])
def test_every_setting_is_documented_and_nothing_else(settings: type[ProgramSettings], prefix: str) -> None:
    assert documented(prefix) == names_of(settings, prefix)
