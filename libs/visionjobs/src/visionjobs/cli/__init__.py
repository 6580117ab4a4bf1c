"""The command line `visionjobs`."""

import io
import os
import sys

from visionjobs.cli.app import app


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    # gRPC writes its own log to stderr, in the middle of what people read; all that matters comes as a status.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - the switch that gRPC has for it
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Where the locale knows too few characters, one that is replaced is better than no output.
            stream.reconfigure(errors="replace")
    app(prog_name="visionjobs")
