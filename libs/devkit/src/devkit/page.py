"""A sheet of paper that is written from top to bottom, in Pillow's own font: no font of the machine is used."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

_INK = (25, 25, 35)
_FAINT = (110, 110, 120)
_PAPER = (252, 251, 247)
_FIELD = (240, 238, 230)
_MARGIN = 56
_ENDLESS = 4000


class Page:
    """A sheet; everything is written below what was written before."""

    def __init__(self, *, width: int, height: int | None = None, accent: Colour) -> None:
        """Take an empty sheet.

        Args:
            width: In pixels.
            height: In pixels; None cuts the sheet where its text ends, as a till does.
            accent: The colour of headings and ticks.
        """
        self._image = Image.new("RGB", (width, height or _ENDLESS), _PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._accent = accent
        self._left, self._right = _MARGIN, width - _MARGIN
        self._top = _MARGIN
        self._is_cut = height is None

    def text(self, text: str, *, size: int, accent: bool = False, faint: bool = False, centred: bool = False) -> None:
        font = ImageFont.load_default(size)
        free = self._right - self._left - self._draw.textlength(text, font)
        colour = self._accent if accent else _FAINT if faint else _INK
        self._draw.text((self._left + (free / 2 if centred else 0), self._top), text, font=font, fill=colour)
        self._top += int(size * 1.6)

    def row(self, left: str, right: str, *, size: int = 26, accent: bool = False) -> None:
        """Write at both margins."""
        colour = self._accent if accent else _INK
        self._write(left, self._left, size=size, colour=colour)
        self._write(right, self._right, size=size, colour=colour, ends_there=True)
        self._top += int(size * 1.6)

    def table(
        self, heading: Sequence[str], rows: Sequence[Sequence[str]], *, right_edges: Sequence[float], size: int = 24
    ) -> None:
        """Write rows between rules: the first column at the left, the others up to their edge, a part of the width."""
        self._cells(heading, right_edges, size=size, colour=_FAINT)
        self.rule()
        for row in rows:
            self._cells(row, right_edges, size=size, colour=_INK)
        self.rule()

    def field(self, label: str, value: str) -> None:
        """Write a label and, in a box beside it, what somebody filled in."""
        height, box_left = 48, self._left + 230
        box = (box_left, self._top, self._right, self._top + height)
        self._draw.rectangle(box, fill=_FIELD, outline=_FAINT, width=2)
        self._top += 8
        self._write(label, self._left, size=26, colour=_INK)
        self._write(value, box_left + 16, size=26, colour=self._accent)
        self._top += height + 6

    def tick_box(self, label: str, *, ticked: bool) -> None:
        left, top, side = self._left, self._top, 28
        self._draw.rectangle((left, top, left + side, top + side), outline=_INK, width=2)
        if ticked:
            tick = ((left + 5, top + 14), (left + 12, top + 23), (left + 25, top + 4))
            self._draw.line(tick, fill=self._accent, width=4, joint="curve")
        self._top -= 2
        self._write(label, left + side + 16, size=26, colour=_INK)
        self._top += 48

    def rule(self) -> None:
        self._top += 8
        self._draw.line((self._left, self._top, self._right, self._top), fill=_FAINT, width=2)
        self._top += 16

    def space(self, pixels: int) -> None:
        self._top += pixels

    def footer(self, text: str) -> None:
        """Write at the foot of a sheet that has a height."""
        self._top = self._image.height - _MARGIN - 52
        self.rule()
        self.text(text, size=22)

    def png(self) -> bytes:
        sheet = self._image.crop((0, 0, self._image.width, self._top + _MARGIN)) if self._is_cut else self._image
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG")
        return buffer.getvalue()

    def _cells(self, cells: Sequence[str], right_edges: Sequence[float], *, size: int, colour: Colour) -> None:
        self._write(cells[0], self._left, size=size, colour=colour)
        for cell, edge in zip(cells[1:], right_edges, strict=True):
            right = self._left + (self._right - self._left) * edge
            self._write(cell, right, size=size, colour=colour, ends_there=True)
        self._top += int(size * 1.6)

    def _write(self, text: str, x: float, *, size: int, colour: Colour, ends_there: bool = False) -> None:
        font = ImageFont.load_default(size)
        start = x - self._draw.textlength(text, font) if ends_there else x
        self._draw.text((start, self._top), text, font=font, fill=colour)
