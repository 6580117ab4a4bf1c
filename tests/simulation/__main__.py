"""Simulates histories, and prints the end of each one in which a promise was broken.

python tests/simulation [--first SEED] [--seeds COUNT] [--brink] [--bug NAME] [--history]
"""

import argparse
import contextlib
import gc
import itertools
import os
import sys
import warnings

from sim_bugs import BUGS
from sim_plan import is_on_the_brink
from sim_run import Ended, live


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=500, help="how many")
    parser.add_argument("--brink", action="store_true", help="only histories on the brink, as they show most")
    parser.add_argument("--lines", type=int, default=400, help="lines of a broken history to print, from its end")
    parser.add_argument("--bug", choices=BUGS, help="plant this bug: the histories that catch it are printed")
    parser.add_argument("--history", action="store_true", help="print unbroken histories too")
    parser.add_argument("--until-broken", action="store_true", help="stop at the first broken history")
    options = parser.parse_args()
    # What is thrown away at the end of a history was not meant to be finished.
    warnings.simplefilter("ignore", RuntimeWarning)
    # Garbage is collected between histories: in the midst of one it costs a tenth of the time.
    gc.freeze()
    gc.disable()
    seeds = (seed for seed in itertools.count(options.first) if not options.brink or is_on_the_brink(seed))
    broken = 0
    with BUGS[options.bug].plant() if options.bug else contextlib.nullcontext():
        for seed in itertools.islice(seeds, options.seeds):
            ended = live(seed)
            gc.collect()
            broken += ended.broken is not None
            if ended.broken or options.history:
                show(ended, options.lines)
            if ended.broken and options.until_broken:
                break
    print(f"{options.seeds} histories, {broken} with a broken promise")
    return 1 if broken else 0


def show(ended: Ended, lines: int) -> None:
    print("\n".join(ended.history[-lines:]))
    print(f"--- seed {ended.seed}: {ended.broken or 'every promise was kept'}")
    print(f"    again with: make simulate FIRST={ended.seed} SEEDS=1", flush=True)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Else sets of texts would have another order in each run, and a seed another history.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})
    sys.exit(main())
