"""What a call is likely to use, before anybody has counted: enough to reserve, settled by the real usage."""

TOKENS_PER_IMAGE = 1_120
"""At the default resolution of Gemini 3."""

_TOKENS_PER_IMAGE = {"LOW": 280, "MEDIUM": 560, "HIGH": TOKENS_PER_IMAGE, "ULTRA_HIGH": 2_240}
_BYTES_PER_TOKEN = 3
"""English has about four characters a token; other scripts and JSON have fewer."""

OUTPUT_TOKENS = 1_024
"""Where the job sets no limit: an answer in JSON, with some thinking."""


def input_tokens(*, text_bytes: int, images: int, media_resolution: str = "") -> int:
    """Return the input tokens of a prompt, its schema and its images."""
    each = _TOKENS_PER_IMAGE.get(media_resolution, TOKENS_PER_IMAGE)
    return -(-text_bytes // _BYTES_PER_TOKEN) + images * each
