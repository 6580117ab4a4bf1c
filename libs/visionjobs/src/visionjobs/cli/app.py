"""The commands and what they share: where the scheduler is, and by TLS or not."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from visionjobs.cli.accepting import accepting
from visionjobs.cli.alerts import alerts
from visionjobs.cli.arguments import duration
from visionjobs.cli.audit import audit
from visionjobs.cli.bulk import cancel_jobs, retry_jobs
from visionjobs.cli.cancel import cancel
from visionjobs.cli.keys import keys
from visionjobs.cli.lanes import lanes
from visionjobs.cli.link import link
from visionjobs.cli.purge_user import purge_user
from visionjobs.cli.reading import get, list_jobs
from visionjobs.cli.retry import retry
from visionjobs.cli.session import Session
from visionjobs.cli.submit import submit
from visionjobs.cli.usage import usage
from visionjobs.cli.watch import watch
from visionjobs.tls import Tls

EPILOG = (
    "[bold]Exit codes[/bold]: 0 done · 1 a watched job ended FAILED, CANCELLED or EXPIRED, or a question was answered "
    "with no · 2 wrong usage, or the scheduler refused the input · 3 there is no such job, lane or key · 4 the scheduler "
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
    tls: Annotated[
        bool | None,
        typer.Option(
            "--tls/--no-tls",
            envvar="VISIONJOBS_TLS",
            metavar="",
            help="Call by TLS.",
            show_default="only with one of its files",
        ),
    ] = None,
    tls_ca_file: Annotated[
        Path | None,
        typer.Option(
            envvar="VISIONJOBS_TLS_CA_FILE",
            metavar="FILE",
            help="The roots to trust, PEM.",
            show_default="SSL_CERT_FILE, or well-known ones",
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
    """Hand over images, a prompt and a JSON schema; get back JSON that fits the schema.

    The API key comes from VISIONJOBS_API_KEY, or from the file that VISIONJOBS_API_KEY_FILE names.
    """
    context.obj = Session(
        address=address,
        tls=tls if tls_ca_file is None or tls is False else Tls(ca_file=tls_ca_file),
        call_timeout=timedelta(seconds=30) if call_timeout is None else call_timeout,
    )


app.command()(submit)
app.command()(get)
app.command("list")(list_jobs)
app.command()(watch)
app.command()(link)
app.command()(cancel)
app.command()(retry)
app.command()(cancel_jobs)
app.command()(retry_jobs)
app.command()(usage)
app.add_typer(lanes, name="lanes")
app.command()(accepting)
app.command()(alerts)
app.add_typer(keys, name="keys")
app.command()(audit)
app.command()(purge_user)
