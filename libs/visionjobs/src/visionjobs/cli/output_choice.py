"""Which of the outputs a command gets."""

import sys

from visionjobs.cli.json_output import JsonOutput
from visionjobs.cli.output import Output
from visionjobs.cli.plain_output import PlainOutput
from visionjobs.cli.terminal_output import TerminalOutput


def choose(*, as_json: bool) -> Output:
    """Return JSON if it is asked for, else what suits the place where stdout goes."""
    if as_json:
        return JsonOutput()
    return TerminalOutput() if sys.stdout.isatty() else PlainOutput()
