"""Each service installs from its own requirements, and holds nothing of the other's."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).parent / "uv"

CASES = [
    ("scheduler", ["migrations", "services/scheduler"], "scheduler.bootstrap", ["google.genai", "executor"]),
    ("executor", ["services/executor"], "executor.bootstrap", ["sqlalchemy", "asyncpg", "alembic", "scheduler"]),
    ("client", [], "visionjobs", ["sqlalchemy", "google.genai", "runtime", "scheduler", "executor"]),
]


@pytest.mark.parametrize(("name", "packages", "module", "absent"), CASES, ids=[case[0] for case in CASES])
def test_a_program_installs_alone_and_holds_nothing_of_the_others(
    tmp_path: Path, name: str, packages: list[str], module: str, absent: list[str]
) -> None:
    python = tmp_path / "alone" / "bin" / "python"
    libs = ["libs/visionjobs"] if name == "client" else ["libs/policies", "libs/runtime", "libs/visionjobs"]

    def run(*command: str | Path) -> None:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
        assert done.returncode == 0, done.stderr

    run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "alone")
    run(UV, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", f"requirements/{name}.txt")
    run(UV, "pip", "install", "--quiet", "--python", python, "--no-deps", *(ROOT / path for path in [*libs, *packages]))

    missing = " or ".join(f"find({other!r})" for other in absent)
    run(
        python,
        "-c",
        f"import {module}, importlib.util\n"
        "def find(name):\n"
        "    try: return importlib.util.find_spec(name)\n"
        "    except ModuleNotFoundError: return None\n"
        f"assert not ({missing})",
    )
