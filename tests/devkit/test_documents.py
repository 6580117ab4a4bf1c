from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest

from devkit import documents
from devkit.documents import Document

DRAWERS = [documents.receipt, documents.invoice, documents.form]


@pytest.mark.parametrize("draw", DRAWERS)
def test_the_same_seed_draws_the_same_picture_and_another_one_another(draw: Callable[[int], Document]) -> None:
    assert draw(1) == draw(1)
    assert draw(1).image_png != draw(2).image_png


@pytest.mark.parametrize("draw", DRAWERS)
@pytest.mark.parametrize("seed", range(20))
def test_the_true_content_fits_the_schema(draw: Callable[[int], Document], seed: int) -> None:
    document = draw(seed)

    jsonschema_rs.validate(document.schema, document.content)


@pytest.mark.parametrize("seed", range(20))
def test_sums_are_right(seed: int) -> None:
    receipt: dict[str, Any] = documents.receipt(seed).content
    invoice: dict[str, Any] = documents.invoice(seed).content

    assert receipt["total_cents"] == sum(item["cents"] for item in receipt["items"])
    assert invoice["net_cents"] == sum(item["cents"] for item in invoice["items"])
    assert invoice["due_cents"] == invoice["net_cents"] + invoice["tax_cents"]
