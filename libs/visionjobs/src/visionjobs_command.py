"""The console script `visionjobs`: quietens gRPC and runs the command line.

Not a part of the package, for whatever imports the package imports gRPC, which looks at its switch then and never again.
"""

import os


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    # gRPC writes its own log to stderr, in the middle of what people read; all that matters comes as a status.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - the switch that gRPC has for it
    from visionjobs import cli  # noqa: PLC0415 - see above

    cli.main()
