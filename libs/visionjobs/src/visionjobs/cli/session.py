"""Runs what a command does with a client, and turns what went wrong into a sentence and an exit code."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import NoReturn

import typer

from visionjobs.cli.output import Output
from visionjobs.cli.wording import span
from visionjobs.client import AsyncClient
from visionjobs.errors import DeadlineExceeded, InvalidArgument, NotFound, RpcError, Unavailable, VisionJobsError


class ExitCode(IntEnum):
    """What a script can tell apart."""

    DONE = 0
    NO_RESULT = 1
    WRONG_INPUT = 2
    NOT_FOUND = 3
    UNAVAILABLE = 4
    REFUSED = 5
    INTERRUPTED = 130
    # What a shell reports for a program that the signal ended.
    BROKEN_PIPE = 141


Work = Callable[[AsyncClient], Awaitable[ExitCode]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where the scheduler is and who calls."""

    address: str | None
    api_key: str | None = field(repr=False)
    call_timeout: timedelta

    def run(self, output: Output, work: Work) -> NoReturn:
        """Do the work and exit."""
        try:
            code = asyncio.run(self._work(output, work))
            sys.stdout.flush()
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        except BrokenPipeError:
            # The reader has gone. Python would complain once more when it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = ExitCode.BROKEN_PIPE
        raise typer.Exit(code)

    async def _work(self, output: Output, work: Work) -> ExitCode:
        notice = _RetryNotice(output, self.call_timeout)
        try:
            client = AsyncClient(self.address, self.api_key, timeout=self.call_timeout, on_retry=notice)
        except ValueError as error:
            output.error(str(error))
            return ExitCode.WRONG_INPUT
        async with client:
            try:
                return await work(client)
            except UnicodeEncodeError:
                output.error("An argument is not UTF-8 text.")
                return ExitCode.WRONG_INPUT
            except VisionJobsError as error:
                output.error(_sentence(error, client.address))
                return _exit_code(error)


class _RetryNotice:
    """Says that the scheduler is away, once for each kind of absence."""

    def __init__(self, output: Output, call_timeout: timedelta) -> None:
        self._output = output
        self._call_timeout = call_timeout
        self._told: set[str] = set()

    def __call__(self, error: Unavailable, _pause: timedelta) -> None:
        absence = _absence(error)
        if absence not in self._told:
            self._told.add(absence)
            self._output.notice(f"The scheduler {absence}; trying again for up to {span(self._call_timeout)}.")


def _exit_code(error: VisionJobsError) -> ExitCode:
    match error:
        case InvalidArgument():
            return ExitCode.WRONG_INPUT
        case NotFound():
            return ExitCode.NOT_FOUND
        case Unavailable() | DeadlineExceeded():
            return ExitCode.UNAVAILABLE
        case _:
            return ExitCode.REFUSED


def _sentence(error: VisionJobsError, address: str) -> str:
    match error:
        case InvalidArgument(violations=[_, *_] as violations):
            lines = [f"  {violation.path}: {violation.description}" for violation in violations]
            return "\n".join(["The scheduler refused the input:", *lines])
        case Unavailable():
            return f"The scheduler at {address} {_absence(error)}: {error}"
        case DeadlineExceeded():
            return f"The scheduler at {address} did not answer in time."
        case RpcError(code=code) if not isinstance(error, InvalidArgument | NotFound):
            return f"The scheduler at {address} refused the call: {code}: {error}"
        case _:
            return str(error)


def _absence(error: Unavailable) -> str:
    return "cannot serve now" if error.reason else "cannot be reached"
