"""Runs what a command does with a client, and ends the command when something went wrong."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, TypeVar

import typer

from visionjobs.cli.failures import ExitCode, exit_code, obstacle, sentence
from visionjobs.cli.output import Output
from visionjobs.cli.wording import span
from visionjobs.client import AsyncClient
from visionjobs.errors import RpcError, VisionJobsError
from visionjobs.tls import Tls

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where the scheduler is, and how it is called; who calls, the environment says."""

    address: str | None
    tls: Tls | bool | None
    call_timeout: timedelta

    def run(self, output: Output, work: Callable[[AsyncClient], Awaitable[ExitCode]]) -> NoReturn:
        """Do the work and exit with its code."""
        raise typer.Exit(self.answer(output, work))

    def answer(self, output: Output, work: Callable[[AsyncClient], Awaitable[Answer]]) -> Answer:
        """Do the work and return what it gives; exit if it fails."""
        try:
            answer = asyncio.run(self._work(output, work))
            sys.stdout.flush()
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            # The reader has gone. Python would complain once more when it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.BROKEN_PIPE) from None
        return answer

    async def _work(self, output: Output, work: Callable[[AsyncClient], Awaitable[Answer]]) -> Answer:
        notice = _RetryNotice(output, self.call_timeout)
        try:
            client = AsyncClient(self.address, tls=self.tls, timeout=self.call_timeout, on_retry=notice)
        except ValueError as error:
            output.error(str(error))
            raise typer.Exit(ExitCode.WRONG_INPUT) from None
        async with client:
            try:
                return await work(client)
            except UnicodeEncodeError:
                output.error("An argument is not UTF-8 text.")
                raise typer.Exit(ExitCode.WRONG_INPUT) from None
            except VisionJobsError as error:
                output.error(sentence(error, client.address))
                raise typer.Exit(exit_code(error)) from None


class _RetryNotice:
    """Says that the scheduler cannot take the call for the moment, once for each kind of obstacle."""

    def __init__(self, output: Output, call_timeout: timedelta) -> None:
        self._output = output
        self._call_timeout = call_timeout
        self._told: set[str] = set()

    def __call__(self, error: RpcError, _pause: timedelta) -> None:
        kind = obstacle(error)
        if kind not in self._told:
            self._told.add(kind)
            self._output.notice(f"The scheduler {kind}; trying again for up to {span(self._call_timeout)}.")
