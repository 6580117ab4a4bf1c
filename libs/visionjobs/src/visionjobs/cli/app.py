"""The commands and what they share: where the scheduler is and who calls."""

from datetime import timedelta
from typing import Annotated

import typer

from visionjobs.cli.accepting import accepting
from visionjobs.cli.arguments import duration
from visionjobs.cli.bulk import cancel_jobs, retry_jobs
from visionjobs.cli.cancel import cancel
from visionjobs.cli.lanes import lanes
from visionjobs.cli.reading import get, list_jobs
from visionjobs.cli.retry import retry
from visionjobs.cli.session import Session
from visionjobs.cli.submit import submit
from visionjobs.cli.watch import watch

EPILOG = (
    "[bold]Exit codes[/bold]: 0 done · 1 a watched job ended FAILED, CANCELLED or EXPIRED, or a question was answered "
    "with no · 2 wrong usage, or the scheduler refused the input · 3 there is no such job or lane · 4 the scheduler "
    "cannot be reached or did not answer in time · 5 any other refusal · 130 interrupted. Results go to stdout, errors "
    "to stderr."
)

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, epilog=EPILOG, rich_markup_mode="rich"
)


@app.callback()
def connect(
    *,
    context: typer.Context,
    address: Annotated[
        str | None,
        typer.Option(
            envvar="VISIONJOBS_ADDRESS",
            metavar="HOST:PORT",
            help="Where the scheduler is.",
            show_default="127.0.0.1:50051",
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="VISIONJOBS_API_KEY",
            metavar="KEY",
            help="Who calls. Better in the environment, where other users of this machine cannot see it.",
            show_default=False,
        ),
    ] = None,
    call_timeout: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="How long to try to get an answer from the scheduler, or to wait for its return during a watch.",
            show_default="30s",
        ),
    ] = None,
) -> None:
    """Hand over images, a prompt and a JSON schema; get back JSON that fits the schema."""
    context.obj = Session(
        address=address, api_key=api_key, call_timeout=timedelta(seconds=30) if call_timeout is None else call_timeout
    )


app.command()(submit)
app.command()(get)
app.command("list")(list_jobs)
app.command()(watch)
app.command()(cancel)
app.command()(retry)
app.command()(cancel_jobs)
app.command()(retry_jobs)
app.add_typer(lanes, name="lanes")
app.command()(accepting)
