import datetime
import io
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
from PIL import Image

from devkit import documents
from devkit.documents import Document

DRAWERS = [documents.receipt, documents.invoice, documents.form]
SEEDS = range(20)


@pytest.mark.parametrize("draw", DRAWERS)
def test_the_same_seed_draws_the_same_picture_and_another_one_another(draw: Callable[[int], Document]) -> None:
    assert draw(1) == draw(1)
    assert len({draw(seed).image_png for seed in range(5)}) == 5
    assert len({str(draw(seed).content) for seed in range(5)}) == 5


@pytest.mark.parametrize("draw", DRAWERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_true_content_fits_the_schema_and_leaves_nothing_out(draw: Callable[[int], Document], seed: int) -> None:
    document = draw(seed)

    jsonschema_rs.validate(document.schema, document.content)
    for field in document.content:
        rest = {name: value for name, value in document.content.items() if name != field}
        assert not jsonschema_rs.is_valid(document.schema, rest), f"{field} may be missing"


@pytest.mark.parametrize("draw", DRAWERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_written_over_the_edge_of_the_sheet(draw: Callable[[int], Document], seed: int) -> None:
    sheet = Image.open(io.BytesIO(draw(seed).image_png)).convert("RGB")

    width, height = sheet.size
    for edge in (
        (0, 0, width, 40),
        (0, height - 40, width, height),
        (0, 0, 40, height),
        (width - 40, 0, width, height),
    ):
        assert len(sheet.crop(edge).getcolors() or []) == 1, f"something is written in {edge}"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_sums_of_a_receipt_are_right(seed: int) -> None:
    receipt: dict[str, Any] = documents.receipt(seed).content

    assert receipt["total_cents"] == sum(item["cents"] for item in receipt["items"])
    assert receipt["tax_cents"] == pytest.approx(receipt["total_cents"] / 6, abs=0.5)  # 20 of 120 parts


@pytest.mark.parametrize("seed", SEEDS)
def test_the_sums_and_dates_of_an_invoice_are_right(seed: int) -> None:
    invoice: dict[str, Any] = documents.invoice(seed).content

    assert invoice["net_cents"] == sum(item["cents"] for item in invoice["items"])
    assert invoice["tax_cents"] == pytest.approx(invoice["net_cents"] / 5, abs=0.5)  # 20%
    assert invoice["due_cents"] == invoice["net_cents"] + invoice["tax_cents"]
    date = datetime.date.fromisoformat(invoice["date"])
    assert datetime.date.fromisoformat(invoice["due_date"]) > date
    assert invoice["number"].startswith(f"{date.year}-")
    assert invoice["sender"] != invoice["receiver"]
