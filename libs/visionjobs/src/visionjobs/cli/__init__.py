"""The command line `visionjobs`."""

import io
import sys

from visionjobs.cli.app import app


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Where the locale knows too few characters, one that is replaced is better than no output.
            stream.reconfigure(errors="replace")
    app(prog_name="visionjobs")
