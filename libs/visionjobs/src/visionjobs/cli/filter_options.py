"""The options that say which jobs are meant."""

from datetime import datetime
from typing import Annotated

import typer

from visionjobs.cli import arguments
from visionjobs.cli.arguments import Label
from visionjobs.jobs import JobState

User = Annotated[str, typer.Option("--user", metavar="USER", help="Only jobs of this user.", show_default=False)]
States = Annotated[
    list[JobState] | None,
    typer.Option(
        "--state",
        case_sensitive=False,
        metavar="STATE",
        help="Only jobs in this state: " + ", ".join(JobState).lower() + "; may be repeated.",
    ),
]
Labels = Annotated[
    list[Label] | None,
    typer.Option(
        "--label", parser=Label.parse, metavar="NAME=VALUE", help="Only jobs with this label; may be repeated."
    ),
]
LaneName = Annotated[
    str,
    typer.Option("--lane", metavar="LANE", help="Only jobs of this lane, as `lanes` names it.", show_default=False),
]
FromTime = Annotated[
    datetime | None,
    typer.Option(
        "--from",
        parser=arguments.time,
        metavar="TIME",
        help="Only jobs submitted at or after this time: ISO 8601, or -2h for two hours ago.",
        show_default=False,
    ),
]
ToTime = Annotated[
    datetime | None,
    typer.Option(
        "--to", parser=arguments.time, metavar="TIME", help="Only jobs submitted before this time.", show_default=False
    ),
]
