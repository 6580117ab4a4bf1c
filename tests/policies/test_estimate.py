import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.estimate import input_tokens

resolutions = st.sampled_from(["", "LOW", "MEDIUM", "HIGH", "ULTRA_HIGH"])


@pytest.mark.parametrize(
    ("media_resolution", "tokens"),
    [("LOW", 280), ("MEDIUM", 560), ("HIGH", 1_120), ("ULTRA_HIGH", 2_240), ("", 1_120), ("OF_A_LATER_MODEL", 1_120)],
)
def test_an_image_costs_what_its_resolution_costs(media_resolution: str, tokens: int) -> None:
    assert input_tokens(text_bytes=0, images=1, media_resolution=media_resolution) == tokens


def test_three_bytes_of_text_are_a_token_and_a_rest_is_one_too() -> None:
    assert [input_tokens(text_bytes=size, images=0) for size in (0, 1, 3, 4, 3_000)] == [0, 1, 1, 2, 1_000]


@given(text_bytes=st.integers(0, 10**7), images=st.integers(0, 16), media_resolution=resolutions)
def test_text_and_images_add_up(text_bytes: int, images: int, media_resolution: str) -> None:
    whole = input_tokens(text_bytes=text_bytes, images=images, media_resolution=media_resolution)

    assert whole == math.ceil(text_bytes / 3) + images * input_tokens(
        text_bytes=0, images=1, media_resolution=media_resolution
    )
