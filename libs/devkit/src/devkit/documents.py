"""Draws business documents whose true content is known: a receipt, an invoice, a form. The same seed, the same bytes."""

import datetime
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devkit.page import Colour, Page

_ACCENTS = ((30, 80, 140), (140, 50, 40), (30, 110, 70), (100, 60, 130))

_SHOPS = {
    "Corner Bakery": (
        ("Rye bread", 380),
        ("Butter croissant", 210),
        ("Espresso", 240),
        ("Apple tart", 425),
        ("Orange juice", 330),
        ("Sesame bagel", 185),
    ),
    "Harbour Books": (
        ("Street map", 790),
        ("Notebook A5", 650),
        ("Bookmark", 125),
        ("Sea chart", 2_490),
        ("Bird guide", 1_895),
        ("Crime novel", 1_199),
    ),
    "Green Grocer": (
        ("Apples, 1 kg", 299),
        ("Olive oil", 1_190),
        ("Cheese, 200 g", 425),
        ("Tomatoes, 500 g", 249),
        ("Fresh basil", 179),
        ("Potatoes, 2 kg", 398),
    ),
}
_STREETS = ("Quay Street", "Mill Lane", "Station Road", "Orchard Way")
_PAID_BY = ("CARD", "CASH")

_COMPANIES = ("Granite Desk Supply", "Two Herons Printing", "Lakeside Tooling", "Old Ferry Logistics")
_SERVICES = (
    ("Toner cartridge, black", 6_490),
    ("Copy paper A4, box of 5", 2_795),
    ("Desk lamp, LED", 4_950),
    ("Office chair, grey", 18_900),
    ("Letterheads, 500 sheets", 8_640),
    ("Delivery and set-up", 5_500),
    ("Maintenance, per hour", 7_200),
    ("Storage box, 60 l", 1_385),
)

_CAUSES = ("water", "fire", "storm", "theft")
_ROOMS = ("Kitchen", "Cellar", "Workshop", "Living room")

_TAX_PERCENT = 20
_PAYMENT_TIME = datetime.timedelta(days=30)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    name: str
    quantity: int
    price_cents: int

    @property
    def cents(self) -> int:
        return self.quantity * self.price_cents


def receipt(seed: int) -> Document:
    """Draw a shop's receipt; its prices contain the tax."""
    draw = random.Random(f"receipt {seed}")
    shop = draw.choice(tuple(_SHOPS))
    items = _items(draw, _SHOPS[shop], most=6)
    total = sum(item.cents for item in items)
    content = {
        "shop": shop,
        "address": f"{draw.randint(1, 99)} {draw.choice(_STREETS)}",
        "number": f"{draw.randint(1, 9999):04}",
        "date": _date(draw).isoformat(),
        "time": f"{draw.randint(8, 19):02}:{draw.randint(0, 59):02}",
        "items": _listed(items),
        "total_cents": total,
        "tax_cents": _rounded(total * _TAX_PERCENT, 100 + _TAX_PERCENT),
        "paid_by": draw.choice(_PAID_BY),
    }
    properties = {
        **dict.fromkeys(("shop", "address", "number"), _text()),
        "date": _text("YYYY-MM-DD"),
        "time": _text("HH:MM"),
        "items": _items_schema(),
        "total_cents": _cents(),
        "tax_cents": _cents(),
        "paid_by": {"type": "string", "enum": list(_PAID_BY)},
    }
    page = _draw_receipt(content, items, accent=draw.choice(_ACCENTS))
    return _document("receipt", seed, page, content, properties)


def invoice(seed: int) -> Document:
    """Draw a company's invoice; its prices are without the tax."""
    draw = random.Random(f"invoice {seed}")
    sender, receiver = draw.sample(_COMPANIES, 2)
    items = _items(draw, _SERVICES, most=7)
    date = _date(draw)
    net = sum(item.cents for item in items)
    tax = _rounded(net * _TAX_PERCENT, 100)
    content = {
        "sender": sender,
        "receiver": receiver,
        "number": f"{date.year}-{draw.randint(1, 9999):04}",
        "date": date.isoformat(),
        "due_date": (date + _PAYMENT_TIME).isoformat(),
        "account": f"XX{draw.randint(10, 98)} " + " ".join(f"{draw.randint(0, 9999):04}" for _ in range(4)),
        "items": _listed(items),
        "net_cents": net,
        "tax_cents": tax,
        "due_cents": net + tax,
    }
    properties: dict[str, object] = {
        **dict.fromkeys(("sender", "receiver", "number"), _text()),
        **dict.fromkeys(("date", "due_date"), _text("YYYY-MM-DD")),
        "account": _text("With its spaces"),
        "items": _items_schema(),
        **dict.fromkeys(("net_cents", "tax_cents", "due_cents"), _cents()),
    }
    page = _draw_invoice(content, items, accent=draw.choice(_ACCENTS))
    return _document("invoice", seed, page, content, properties)


def form(seed: int) -> Document:
    """Draw a filled-in form with fields and tick boxes."""
    draw = random.Random(f"form {seed}")
    content = {
        "policy_number": f"P-{draw.randint(100_000, 999_999)}",
        "date": _date(draw).isoformat(),
        "room": draw.choice(_ROOMS),
        "damage_cents": draw.randint(50, 5_000) * 100,
        "cause": draw.choice(_CAUSES),
        "injured": draw.random() < 0.3,
        "photographs": draw.random() < 0.6,
    }
    properties: dict[str, object] = {
        "policy_number": _text(),
        "date": _text("YYYY-MM-DD"),
        "room": _text(),
        "damage_cents": _cents(),
        "cause": {"type": "string", "enum": list(_CAUSES)},
        "injured": {"type": "boolean"},
        "photographs": {"type": "boolean"},
    }
    page = _draw_form(content, accent=draw.choice(_ACCENTS))
    return _document("form", seed, page, content, properties)


def _draw_receipt(content: Mapping[str, Any], items: Sequence[_Item], *, accent: Colour) -> Page:
    page = Page(width=640, accent=accent)
    page.text(content["shop"], size=44, accent=True, centred=True)
    page.text(content["address"], size=22, faint=True, centred=True)
    page.row(f"Receipt {content['number']}", f"{content['date']}  {content['time']}", size=24)
    page.rule()
    for item in items:
        page.row(item.name, _money(item.cents))
        if item.quantity > 1:
            page.text(f"    {item.quantity} x {_money(item.price_cents)}", size=22, faint=True)
    page.rule()
    page.row("TOTAL", _money(content["total_cents"]), size=38)
    page.row(f"incl. {_TAX_PERCENT}% tax", _money(content["tax_cents"]), size=24)
    page.row("Paid by", content["paid_by"], size=24)
    page.rule()
    page.text("Thank you, come again!", size=24, faint=True, centred=True)
    return page


def _draw_invoice(content: Mapping[str, Any], items: Sequence[_Item], *, accent: Colour) -> Page:
    page = Page(width=800, height=1100, accent=accent)
    page.row(content["sender"], "INVOICE", size=38, accent=True)
    page.rule()
    page.row("Bill to", content["receiver"])
    page.row("Invoice number", content["number"])
    page.row("Date", content["date"])
    page.row("Due by", content["due_date"])
    page.space(24)
    page.table(
        ("Description", "Quantity", "Price", "Amount"),
        [(item.name, str(item.quantity), _money(item.price_cents), _money(item.cents)) for item in items],
        right_edges=(0.62, 0.8, 1.0),
    )
    page.row("Net", _money(content["net_cents"]))
    page.row(f"Tax {_TAX_PERCENT}%", _money(content["tax_cents"]))
    page.row("Amount due", _money(content["due_cents"]), size=34, accent=True)
    page.footer(f"Please pay to account {content['account']}")
    return page


def _draw_form(content: Mapping[str, Any], *, accent: Colour) -> Page:
    page = Page(width=800, height=1100, accent=accent)
    page.text("Damage report", size=44, accent=True)
    page.text("Fill in every field. Tick what applies.", size=22, faint=True)
    page.rule()
    page.field("Policy number", content["policy_number"])
    page.field("Date of damage", content["date"])
    page.field("Room", content["room"])
    page.field("Estimate", _money(content["damage_cents"]))
    page.space(16)
    page.text("Cause (tick one)", size=26)
    for cause in _CAUSES:
        page.tick_box(cause.capitalize(), ticked=cause == content["cause"])
    page.rule()
    page.tick_box("Somebody was injured", ticked=content["injured"])
    page.tick_box("Photographs are enclosed", ticked=content["photographs"])
    page.footer("Send this report within 14 days of the damage.")
    return page


def _document(kind: str, seed: int, page: Page, content: dict[str, object], properties: dict[str, object]) -> Document:
    return Document(
        name=f"{kind} {seed}",
        image_png=page.png(),
        content=content,
        schema=_object(properties),
        prompt=f"Read this {kind}. Give amounts in whole cents.",
    )


def _object(properties: dict[str, object]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _items_schema() -> dict[str, object]:
    item = _object({"name": _text(), "quantity": {"type": "integer", "minimum": 1}, "cents": _cents()})
    return {"type": "array", "minItems": 1, "items": item}


def _text(description: str = "") -> dict[str, object]:
    return {"type": "string", "description": description} if description else {"type": "string"}


def _cents() -> dict[str, object]:
    return {"type": "integer", "minimum": 0}


def _items(draw: random.Random, goods: Sequence[tuple[str, int]], *, most: int) -> list[_Item]:
    chosen = draw.sample(goods, draw.randint(3, most))
    return [_Item(name=name, quantity=draw.randint(1, 4), price_cents=cents) for name, cents in chosen]


def _listed(items: Sequence[_Item]) -> list[dict[str, object]]:
    return [{"name": item.name, "quantity": item.quantity, "cents": item.cents} for item in items]


def _rounded(amount: int, divisor: int) -> int:
    """Divide, rounding halves up."""
    return (2 * amount + divisor) // (2 * divisor)


def _date(draw: random.Random) -> datetime.date:
    return datetime.date(2025, 1, 1) + datetime.timedelta(days=draw.randrange(330))


def _money(cents: int) -> str:
    return f"{cents // 100:,}.{cents % 100:02}"
