"""Draws business documents whose true content is known: a receipt, an invoice, a form. The same seed, the same bytes."""

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_INK = (25, 25, 35)
_FAINT = (120, 120, 130)
_PAPER = (252, 251, 247)
_ACCENTS = ((30, 80, 140), (140, 50, 40), (30, 110, 70), (100, 60, 130))

_SHOPS = ("Corner Bakery", "Harbour Books", "Green Grocer", "Station Kiosk", "Old Mill Cafe")
_COMPANIES = ("Northwind Tools", "Blue Heron Printing", "Granite Office Supply", "Lakeside Catering")
_GOODS = (
    ("Rye bread", 380),
    ("Espresso", 240),
    ("Notebook A5", 650),
    ("Apples, 1 kg", 299),
    ("Olive oil", 1_190),
    ("Batteries AA", 549),
    ("Street map", 790),
    ("Cheese, 200 g", 425),
)
_TAX_PERCENT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A drawn document.

    Attributes:
        image_png: The picture.
        content: What it says, valid against `schema`. Amounts are in whole cents.
        prompt: What to ask a model.
    """

    name: str
    image_png: bytes
    content: dict[str, object]
    schema: dict[str, object]
    prompt: str


def receipt(seed: int) -> Document:
    """Draw a shop's receipt."""
    draw = random.Random(f"receipt {seed}")
    lines = _lines(draw, count=draw.randint(3, 6))
    total = sum(quantity * price for _, quantity, price in lines)
    shop, date, number = draw.choice(_SHOPS), _date(draw), f"{draw.randint(1000, 9999)}"
    page = _Page(560, 420 + 46 * len(lines), accent=draw.choice(_ACCENTS))
    page.text(shop, size=40, accent=True, centred=True)
    page.text(f"Receipt {number}    {date}", size=22, faint=True, centred=True)
    page.rule()
    for name, quantity, price in lines:
        page.row(f"{quantity} x {name}", _money(quantity * price))
    page.rule()
    page.row("TOTAL", _money(total), size=34)
    page.row(f"incl. {_TAX_PERCENT}% tax", _money(_tax_within(total)), size=20)
    page.text("Thank you!", size=24, faint=True, centred=True)
    content: dict[str, object] = {
        "shop": shop,
        "date": date,
        "number": number,
        "items": [{"name": name, "quantity": quantity, "cents": quantity * price} for name, quantity, price in lines],
        "total_cents": total,
    }
    properties = {
        "shop": {"type": "string"},
        "date": {"type": "string", "description": "YYYY-MM-DD"},
        "number": {"type": "string"},
        "items": _items_schema(),
        "total_cents": {"type": "integer", "minimum": 0},
    }
    return _document(f"receipt {seed}", page, content, properties, "Read this receipt. Give amounts in whole cents.")


def invoice(seed: int) -> Document:
    """Draw a company's invoice."""
    draw = random.Random(f"invoice {seed}")
    lines = _lines(draw, count=draw.randint(3, 7))
    net = sum(quantity * price for _, quantity, price in lines)
    tax = net * _TAX_PERCENT // 100
    sender, receiver = draw.sample(_COMPANIES, 2)
    date, number = _date(draw), f"{draw.randint(2024, 2026)}-{draw.randint(1, 9999):04}"
    account = f"XX{draw.randint(10, 99)} " + " ".join(f"{draw.randint(0, 9999):04}" for _ in range(4))
    page = _Page(800, 720 + 46 * len(lines), accent=draw.choice(_ACCENTS))
    page.text(sender, size=42, accent=True)
    page.text("INVOICE", size=30)
    page.row("Number", number)
    page.row("Date", date)
    page.row("Bill to", receiver)
    page.rule()
    for name, quantity, price in lines:
        page.row(f"{quantity} x {name} at {_money(price)}", _money(quantity * price))
    page.rule()
    page.row("Net", _money(net))
    page.row(f"Tax {_TAX_PERCENT}%", _money(tax))
    page.row("Amount due", _money(net + tax), size=34)
    page.text(f"Please pay to {account}", size=22, faint=True)
    content: dict[str, object] = {
        "sender": sender,
        "receiver": receiver,
        "number": number,
        "date": date,
        "items": [{"name": name, "quantity": quantity, "cents": quantity * price} for name, quantity, price in lines],
        "net_cents": net,
        "tax_cents": tax,
        "due_cents": net + tax,
        "account": account,
    }
    cents = {"type": "integer", "minimum": 0}
    properties = {
        **{name: {"type": "string"} for name in ("sender", "receiver", "number", "date")},
        "items": _items_schema(),
        "net_cents": cents,
        "tax_cents": cents,
        "due_cents": cents,
        "account": {"type": "string"},
    }
    return _document(f"invoice {seed}", page, content, properties, "Read this invoice. Give amounts in whole cents.")


def form(seed: int) -> Document:
    """Draw a filled-in form with tick boxes."""
    draw = random.Random(f"form {seed}")
    policy, date = f"P-{draw.randint(100_000, 999_999)}", _date(draw)
    cause = draw.choice(("water", "fire", "storm", "theft"))
    damage = draw.randint(50, 5_000) * 100
    injured, photos = draw.random() < 0.3, draw.random() < 0.6
    page = _Page(760, 900, accent=draw.choice(_ACCENTS))
    page.text("Damage report", size=42, accent=True)
    page.text("Fill in with block letters", size=20, faint=True)
    page.rule()
    page.row("Policy number", policy)
    page.row("Date of damage", date)
    page.row("Estimated damage", _money(damage))
    page.rule()
    page.text("Cause", size=26)
    for choice in ("water", "fire", "storm", "theft"):
        page.tick_box(choice, ticked=choice == cause)
    page.rule()
    page.tick_box("Somebody was injured", ticked=injured)
    page.tick_box("Photographs are enclosed", ticked=photos)
    content: dict[str, object] = {
        "policy_number": policy,
        "date": date,
        "cause": cause,
        "damage_cents": damage,
        "injured": injured,
        "photographs": photos,
    }
    properties = {
        "policy_number": {"type": "string"},
        "date": {"type": "string", "description": "YYYY-MM-DD"},
        "cause": {"type": "string", "enum": ["water", "fire", "storm", "theft"]},
        "damage_cents": {"type": "integer", "minimum": 0},
        "injured": {"type": "boolean"},
        "photographs": {"type": "boolean"},
    }
    return _document(f"form {seed}", page, content, properties, "Read this form. Give amounts in whole cents.")


class _Page:
    """A sheet that is written from top to bottom."""

    _MARGIN = 48

    def __init__(self, width: int, height: int, *, accent: tuple[int, int, int]) -> None:
        self._image = Image.new("RGB", (width, height), _PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._accent = accent
        self._width = width
        self._top = self._MARGIN

    def text(self, text: str, *, size: int, accent: bool = False, faint: bool = False, centred: bool = False) -> None:
        font = ImageFont.load_default(size)
        left = (self._width - self._draw.textlength(text, font)) / 2 if centred else self._MARGIN
        colour = self._accent if accent else _FAINT if faint else _INK
        self._draw.text((left, self._top), text, font=font, fill=colour)
        self._top += int(size * 1.6)

    def row(self, left: str, right: str, *, size: int = 26) -> None:
        font = ImageFont.load_default(size)
        self._draw.text((self._MARGIN, self._top), left, font=font, fill=_INK)
        edge = self._width - self._MARGIN - self._draw.textlength(right, font)
        self._draw.text((edge, self._top), right, font=font, fill=_INK)
        self._top += int(size * 1.7)

    def rule(self) -> None:
        self._top += 8
        self._draw.line((self._MARGIN, self._top, self._width - self._MARGIN, self._top), fill=_FAINT, width=2)
        self._top += 16

    def tick_box(self, label: str, *, ticked: bool) -> None:
        left, top, side = self._MARGIN, self._top, 28
        self._draw.rectangle((left, top, left + side, top + side), outline=_INK, width=2)
        if ticked:
            self._draw.line((left + 5, top + 14, left + 12, top + 23), fill=self._accent, width=4)
            self._draw.line((left + 12, top + 23, left + 25, top + 4), fill=self._accent, width=4)
        self._draw.text((left + side + 16, top - 2), label, font=ImageFont.load_default(26), fill=_INK)
        self._top += 46

    def png(self) -> bytes:
        buffer = io.BytesIO()
        self._image.save(buffer, "PNG")
        return buffer.getvalue()


def _document(
    name: str, page: _Page, content: dict[str, object], properties: dict[str, object], prompt: str
) -> Document:
    schema: dict[str, object] = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return Document(name=name, image_png=page.png(), content=content, schema=schema, prompt=prompt)


def _items_schema() -> dict[str, object]:
    return {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "quantity": {"type": "integer", "minimum": 1},
                "cents": {"type": "integer", "minimum": 0},
            },
            "required": ["name", "quantity", "cents"],
        },
    }


def _lines(draw: random.Random, *, count: int) -> Sequence[tuple[str, int, int]]:
    return [(name, draw.randint(1, 4), cents) for name, cents in draw.sample(_GOODS, count)]


def _tax_within(total: int) -> int:
    return total * _TAX_PERCENT // (100 + _TAX_PERCENT)


def _date(draw: random.Random) -> str:
    return f"{draw.randint(2024, 2026)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}"


def _money(cents: int) -> str:
    return f"{cents // 100:,}.{cents % 100:02}"
