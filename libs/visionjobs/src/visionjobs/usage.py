"""What jobs used, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass

from visionjobs.jobs import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """What the jobs of one group used.

    Attributes:
        group: A value for each entry of group_by; a day as 2026-11-24, a label that a job lacks as "".
        jobs: Jobs that ended.
        usage: Tokens.
        cost_usd: All that is known to be paid.
        wasted_usd: The part of it that gave no accepted result.
        unanswered_calls: Calls that were sent and never answered: they may have been billed, and no cost knows of them.
    """

    group: Mapping[str, str]
    jobs: int
    usage: Usage
    cost_usd: float
    wasted_usd: float
    unanswered_calls: int
