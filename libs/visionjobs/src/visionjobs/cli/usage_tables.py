"""What a person at a terminal sees of usage and alerts."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from visionjobs.alerts import Alert
from visionjobs.cli import usage_wording, wording
from visionjobs.usage import UsageRow

_FIGURES = ("Jobs", "Tokens in", "Tokens out", "Cost", "Wasted", "Unanswered")


def of_usage(rows: Sequence[UsageRow]) -> RenderableType:
    """Return a row for each group."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in rows[0].group if rows else ():
        table.add_column(Text(wording.one_line(name)), overflow="fold")
    for name in _FIGURES:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            *(Text(value) for value in usage_wording.groups(row)),
            f"{row.jobs:,}",
            f"{row.usage.input_tokens:,}",
            f"{usage_wording.tokens_out(row):,}",
            wording.cost(row.cost_usd),
            Text(wording.cost(row.wasted_usd), style="yellow" if row.wasted_usd else ""),
            Text(f"{row.unanswered_calls:,}", style="yellow" if row.unanswered_calls else ""),
        )
    return table if table.rows else Text("No usage.", style="dim")


def of_alerts(alerts: Sequence[Alert]) -> RenderableType:
    """Return a row for each alert."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("Since", no_wrap=True)
    table.add_column("Alert", no_wrap=True)
    table.add_column("What", overflow="fold")
    for alert in alerts:
        since = f"{alert.start_time.astimezone():%Y-%m-%d %H:%M}" if alert.start_time else ""
        style = "dim" if not alert.active else "red" if alert.severity == "CRITICAL" else "yellow"
        table.add_row(since, Text(wording.one_line(alert.name), style=style), Text(usage_wording.alert(alert)))
    return table if table.rows else Text("No alerts.", style="dim")
