"""What a person at a terminal sees of lanes, keys and changes."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from visionjobs.cli import key_wording, lane_wording, wording
from visionjobs.keys import AuditEntry, Key
from visionjobs.lanes import Lane


def of_lanes(lanes: Sequence[Lane], present: datetime) -> RenderableType:
    """Return a row for each lane."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("Lane", no_wrap=True)
    table.add_column("State", overflow="fold")
    table.add_column("Limits", overflow="fold")
    table.add_column("Waiting", justify="right", no_wrap=True)
    table.add_column("Running", justify="right", no_wrap=True)
    for lane in lanes:
        table.add_row(
            Text(wording.one_line(lane.lane)),
            Text(lane_wording.state(lane, present), style="green" if lane_wording.is_open(lane, present) else "yellow"),
            Text(lane_wording.limits(lane)),
            f"{lane.queued_jobs:,}",
            f"{lane.running_jobs:,}",
        )
    return table if table.rows else Text("No lanes.", style="dim")


def of_keys(keys: Sequence[Key], present: datetime) -> RenderableType:
    """Return a row for each key, and what is special about it below."""
    return Group(*_key_rows(keys, present)) if keys else Text("No keys.", style="dim")


def _key_rows(keys: Sequence[Key], present: datetime) -> Iterator[RenderableType]:
    yield _header((12, "Key"), (22, "Client"), (8, "Role"), (10, "Created"), (10, "Last used"), (7, "State"))
    for key in keys:
        cells = _cells(
            (12, wording.one_line(key.key_id)),
            (22, wording.one_line(key.client_id)),
            (8, key.role.lower()),
            (10, key_wording.created(key)),
            (10, key_wording.last_used(key, present)),
        )
        yield _row(cells, key_wording.validity(key), "red" if key.revoke_time else "green")
        remarks = [key_wording.limits(key), key_wording.times(key, present)]
        if any(remarks):
            yield _below(" · ".join(words for words in remarks if words), indent=14)


def of_changes(entries: Sequence[AuditEntry]) -> RenderableType:
    """Return a row for each change, and what was asked for below it."""
    return Group(*_change_rows(entries)) if entries else Text("No changes.", style="dim")


def _change_rows(entries: Sequence[AuditEntry]) -> Iterator[RenderableType]:
    yield _header((16, "Time"), (26, "By"), (13, "Call"), (7, "Outcome"))
    for entry in entries:
        time = f"{entry.create_time.astimezone():%Y-%m-%d %H:%M}" if entry.create_time else ""
        outcome = key_wording.outcome(entry)
        cells = _cells((16, time), (26, key_wording.author(entry)), (13, key_wording.call(entry)))
        yield _row(cells, outcome, "green" if outcome == "OK" else "red")
        if entry.request_json not in {"", "{}"}:
            yield _below(wording.one_line(entry.request_json), indent=2)


def _header(*cells: tuple[int, str]) -> Text:
    header = _cells(*cells)
    header.rstrip()
    header.stylize("dim")
    return header


def _cells(*cells: tuple[int, str]) -> Text:
    row = Text()
    for width, words in cells:
        cell = Text(words)
        cell.truncate(width, overflow="ellipsis", pad=True)
        row.append_text(cell).append("  ")
    return row


def _row(cells: Text, last: str, style: str) -> Text:
    return Text.assemble(cells, (last, style), no_wrap=True, overflow="ellipsis")


def _below(words: str, *, indent: int) -> RenderableType:
    return Padding(Text(words, style="dim"), (0, 0, 0, indent), expand=False)
