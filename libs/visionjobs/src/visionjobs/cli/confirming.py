"""Asks a person before something is done that cannot be undone."""

import contextlib
import sys

import typer

from visionjobs.cli.failures import ExitCode
from visionjobs.cli.output import Output


def confirm(output: Output, question: str, *, without_terminal: str) -> None:
    """Return if a person agrees, and exit otherwise.

    Args:
        output: Says why the command ends.
        question: To be answered with yes or no.
        without_terminal: What else can be done where nobody can be asked.
    """
    require_terminal(output, without_terminal)
    try:
        # The end of the prompt would go to stdout, where programs read.
        with contextlib.redirect_stdout(sys.stderr):
            agreed = typer.confirm(question, prompt_suffix=" ", err=True)
    except typer.Abort:
        output.notice("\nNothing is done.")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if not agreed:
        output.notice("Nothing is done.")
        raise typer.Exit(ExitCode.NO_RESULT)


def require_terminal(output: Output, without_terminal: str) -> None:
    """Exit where nobody can be asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        output.error(f"Nothing is done without a terminal to ask at: {without_terminal}.")
        raise typer.Exit(ExitCode.WRONG_INPUT)
