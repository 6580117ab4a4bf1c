"""Token counts as Gemini tells them: per modality, thoughts apart."""

from collections.abc import Iterable
from dataclasses import dataclass

from devkit.emulator.request import GenerateRequest

CHARACTERS_PER_TOKEN = 4

# Gemini 3 and newer: a budget an image by its resolution, whatever its size.
_IMAGE_TOKENS = {"LOW": 280, "MEDIUM": 560, "HIGH": 1120, "ULTRA_HIGH": 2240}
_DEFAULT_IMAGE_TOKENS = 1120
_THOUGHT_TOKENS = {"MINIMAL": 0, "LOW": 24, "MEDIUM": 96, "HIGH": 384, "XHIGH": 768}
_DEFAULT_THOUGHT_TOKENS = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a call used, in tokens; candidates and thoughts are billed as output, and cached ones are among the input."""

    text: int
    image: int
    candidates: int
    thoughts: int
    cached: int = 0

    @property
    def prompt(self) -> int:
        return self.text + self.image

    @property
    def total(self) -> int:
        return self.prompt + self.candidates + self.thoughts

    def as_metadata(self, service_tier: str) -> dict[str, object]:
        """Return the `usageMetadata` of an answer; what is zero is absent, as in every proto."""
        details = [("TEXT", self.text), ("IMAGE", self.image)]
        metadata: dict[str, object] = {"promptTokenCount": self.prompt}
        if self.candidates:
            metadata["candidatesTokenCount"] = self.candidates
        if self.thoughts:
            metadata["thoughtsTokenCount"] = self.thoughts
        return metadata | {
            "totalTokenCount": self.total,
            "promptTokensDetails": [
                {"modality": modality, "tokenCount": count} for modality, count in details if count
            ],
            "serviceTier": service_tier,
        }


def text_tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def input_tokens(request: GenerateRequest) -> tuple[int, int]:
    """Return the tokens of text, the schema among them, and of images."""
    text = text_tokens(request.prompt + request.system_instruction + request.schema_text)
    return text, _image_tokens(image.resolution for image in request.images)


def thought_tokens(request: GenerateRequest, model: str) -> int:
    """Return what thinking costs. Lite models think least unless told to; half of a tight bound is left to the answer."""
    if request.thinking_level:
        tokens = _THOUGHT_TOKENS[request.thinking_level]
    else:
        tokens = 0 if model.endswith("-lite") else _DEFAULT_THOUGHT_TOKENS
    return tokens if request.max_output_tokens is None else min(tokens, request.max_output_tokens // 2)


def _image_tokens(resolutions: Iterable[str]) -> int:
    return sum(_IMAGE_TOKENS.get(resolution, _DEFAULT_IMAGE_TOKENS) for resolution in resolutions)
