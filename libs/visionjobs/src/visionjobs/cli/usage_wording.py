"""What people are told about usage and alerts, without colour or layout."""

from visionjobs.alerts import Alert
from visionjobs.cli.wording import cost, moment, one_line
from visionjobs.usage import UsageRow


def groups(row: UsageRow) -> list[str]:
    """Return the values of the row's groups; "-" for a label that the jobs lack."""
    return [one_line(value) or "-" for value in row.group.values()]


def figures(row: UsageRow) -> list[str]:
    """Return what was used, each figure with what it counts."""
    unanswered = [f"{row.unanswered_calls:,} unanswered"] if row.unanswered_calls else []
    return [
        f"{row.jobs:,} {'job' if row.jobs == 1 else 'jobs'}",
        f"{row.usage.input_tokens:,} tokens in",
        f"{tokens_out(row):,} tokens out",
        cost(row.cost_usd),
        f"{cost(row.wasted_usd)} wasted",
        *unanswered,
    ]


def tokens_out(row: UsageRow) -> int:
    """Return what is billed as output: thinking, too."""
    return row.usage.output_tokens + row.usage.thinking_tokens


def alert(alert: Alert) -> str:
    """Return what an alert says, and since when it is over."""
    over = f" (over since {moment(alert.end_time)})" if alert.end_time else ""
    return one_line(alert.message) + over
