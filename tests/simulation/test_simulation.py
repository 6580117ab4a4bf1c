"""The promises hold in hundreds of histories, and the simulation would notice if they did not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sim_bugs import BUGS

HERE = Path(__file__).parent
SEEDS = 500
SEEDS_OF_ONE_TEST = 50


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, HERE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_OF_ONE_TEST))
def test_every_promise_is_kept_in_every_history(first: int) -> None:
    done = simulate("--first", str(first), "--seeds", str(SEEDS_OF_ONE_TEST), "--lines", "150")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{SEEDS_OF_ONE_TEST} histories, 0 with a broken promise" in done.stdout


def test_a_seed_is_the_same_history_again() -> None:
    once, again = (simulate("--first", "16", "--seeds", "1", "--history") for _ in range(2))

    assert "call 1 for request" in once.stdout
    assert once.stdout == again.stdout


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught_and_its_history_is_sound_without_it(name: str) -> None:
    """Which seed it is changes with the code; that there is one does not."""
    caught = simulate("--brink", "--seeds", str(BUGS[name].caught_within), "--bug", name, "--until-broken")

    assert caught.returncode == 1, f"none of {BUGS[name].caught_within} histories shows the bug"
    seed = caught.stdout.split("--- seed ")[1].split(":")[0]
    sound = simulate("--first", seed, "--seeds", "1")
    assert sound.returncode == 0, sound.stdout
