"""`visionjobs lanes`: look at lanes, and set, pause, resume or reset them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import typer

from visionjobs.cli.failures import ExitCode
from visionjobs.cli.output_choice import choose
from visionjobs.cli.session import Session
from visionjobs.client import AsyncClient
from visionjobs.lanes import Lane

lanes = typer.Typer(invoke_without_command=True, rich_markup_mode="rich")

LaneName = Annotated[str, typer.Argument(metavar="LANE", help="Its name: provider/model.", show_default=False)]
LaneNameOrAll = Annotated[
    str, typer.Argument(metavar="LANE", help="Its name, or '*' in quotes for all lanes.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object a line, for each lane.")]


@lanes.callback()
def list_lanes(*, context: typer.Context, as_json: AsJson = False) -> None:
    """Show the lanes: a lane is a model, with its limits, its circuit breaker and its jobs."""
    if context.invoked_subcommand is None:
        _show(context, lambda client: client.list_lanes(), as_json=as_json)


@lanes.command("set")
def set_limits(
    *,
    context: typer.Context,
    lane: LaneName,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Calls a minute.", show_default=False)
    ] = None,
    input_tokens_per_minute: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Input tokens a minute.", show_default=False)
    ] = None,
    requests_per_day: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Calls a day.", show_default=False)
    ] = None,
    max_in_flight: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Calls at once.", show_default=False)
    ] = None,
    dollars_per_10_minutes: Annotated[
        float | None, typer.Option(min=0, metavar="USD", help="US dollars in any ten minutes.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change limits of a lane: 0 means no limit, and what is not named stays as it is."""
    limits = (requests_per_minute, input_tokens_per_minute, requests_per_day, max_in_flight, dollars_per_10_minutes)
    if all(limit is None for limit in limits):
        raise typer.BadParameter("At least one is needed, such as --requests-per-minute 60.", param_hint="limits")

    async def change(client: AsyncClient) -> Sequence[Lane]:
        changed = await client.update_lane(
            lane,
            requests_per_minute=requests_per_minute,
            input_tokens_per_minute=input_tokens_per_minute,
            requests_per_day=requests_per_day,
            max_in_flight=max_in_flight,
            dollars_per_10_minutes=dollars_per_10_minutes,
        )
        return [changed]

    _show(context, change, as_json=as_json)


@lanes.command()
def pause(*, context: typer.Context, lane: LaneNameOrAll, as_json: AsJson = False) -> None:
    """Hand out no more work of a lane; running calls go on."""
    _show(context, lambda client: client.pause_lane(lane), as_json=as_json)


@lanes.command()
def resume(*, context: typer.Context, lane: LaneNameOrAll, as_json: AsJson = False) -> None:
    """End the pause of a lane, and the stop that billing or a retired model caused."""
    _show(context, lambda client: client.resume_lane(lane), as_json=as_json)


@lanes.command()
def reset_breaker(*, context: typer.Context, lane: LaneName, as_json: AsJson = False) -> None:
    """Close the circuit breaker of a lane now, and forget the failures that it counted."""

    async def change(client: AsyncClient) -> Sequence[Lane]:
        return [await client.reset_breaker(lane)]

    _show(context, change, as_json=as_json)


def _show(context: typer.Context, call: Callable[[AsyncClient], Awaitable[Sequence[Lane]]], *, as_json: bool) -> None:
    session: Session = context.obj
    output = choose(as_json=as_json)

    async def work(client: AsyncClient) -> ExitCode:
        output.lanes(await call(client))
        return ExitCode.DONE

    session.run(output, work)
