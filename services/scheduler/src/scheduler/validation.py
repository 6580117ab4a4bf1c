"""Turns what a caller sent into a valid spec with its defaults, or into a list of what is wrong with it.

The bounds are those of the contract. Nothing here knows the wire or the store.
"""

import datetime
import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from scheduler.errors import Violation
from scheduler.image_header import ImageLimits, ImageRefused, check_image
from scheduler.jobs import CachePolicy, Generation, ImageRef, JobSpec, NewImage
from scheduler.schema_check import BadSchema, check_schema

MAX_IMAGES = 16
MAX_TEXT_BYTES = 256 * 1024
MAX_LABELS = 32
MAX_LABEL_NAME = 63
MAX_LABEL_VALUE = 255
MAX_ID = 128
MAX_RETRIES = 10
MIN_TIMEOUT = datetime.timedelta(seconds=10)
MAX_TIMEOUT = datetime.timedelta(hours=1)
MAX_SCHEDULE_AHEAD = datetime.timedelta(days=30)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEDIA_RESOLUTIONS = ("LOW", "MEDIUM", "HIGH", "ULTRA_HIGH")
_THINKING_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH")
_SERVICE_TIERS = ("STANDARD", "FLEX", "PRIORITY")

DEFAULT_PRIORITY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDraft:
    """An image as it was sent: one of data, uri and sha256 is set, or none."""

    data: bytes | None = None
    uri: str | None = None
    sha256: str | None = None
    mime_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecDraft:
    """A spec as it was sent: nothing is checked, nothing is filled in.

    Attributes:
        schema_json: None if there is no schema; the text of a Struct has sorted keys and integers where it had
            integral numbers.
        refused: Fields that cannot be taken as they are, and why.
    """

    user_id: str = ""
    images: tuple[ImageDraft, ...] = ()
    prompt: str = ""
    system_instruction: str = ""
    schema_json: str | None = None
    schema_is_struct: bool = False
    model: str = ""
    priority: int = 0
    timeout: datetime.timedelta | None = None
    max_retries: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    generation: Generation = field(default_factory=Generation)
    cache: int = 0
    fail_fast: bool = False
    schedule_time: datetime.datetime | None = None
    expire_time: datetime.datetime | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a spec gets where it is silent, and which models it may name."""

    models: Collection[str]
    model: str
    timeout: datetime.timedelta = datetime.timedelta(minutes=5)
    max_retries: int = 3
    image_limits: ImageLimits = field(default_factory=ImageLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSpec:
    """A spec whose fields are right.

    Attributes:
        spec: Images given by sha256 have size 0 until the store has told it.
        new_images: The images that came as bytes.
    """

    spec: JobSpec
    new_images: tuple[NewImage, ...]


def check_spec(
    draft: SpecDraft, path: str, defaults: Defaults, *, now: datetime.datetime
) -> CheckedSpec | list[Violation]:
    """Check every field; all that is wrong is returned together, each with its path below `path`."""
    check = _Checker(path)
    check.text("user_id", draft.user_id, required=True, max_characters=MAX_ID)
    check.text("prompt", draft.prompt, required=True, max_bytes=MAX_TEXT_BYTES)
    check.text("system_instruction", draft.system_instruction, max_bytes=MAX_TEXT_BYTES)
    images = check.images(draft.images, defaults.image_limits)
    check.schema(draft)
    check.that(
        not draft.model or draft.model in defaults.models,
        "model",
        f"{draft.model!r} is unknown; known are {', '.join(sorted(defaults.models))}",
    )
    check.that(0 <= draft.priority <= 3, "priority", "must be 1 (high), 2 (normal) or 3 (low)")
    check.that(
        draft.timeout is None or MIN_TIMEOUT <= draft.timeout <= MAX_TIMEOUT, "timeout", "must be from 10 s to 1 h"
    )
    check.that(
        draft.max_retries is None or 0 <= draft.max_retries <= MAX_RETRIES,
        "max_retries",
        f"must be from 0 to {MAX_RETRIES}",
    )
    check.labels(draft.labels)
    check.times(draft.schedule_time, draft.expire_time, now)
    generation = check.generation(draft.generation)
    check.that(0 <= draft.cache <= max(CachePolicy), "cache", "is not a CachePolicy")
    for name, why in draft.refused.items():
        check.that(False, name, why)  # noqa: FBT003 - always a violation
    if check.violations:
        return check.violations
    spec = JobSpec(
        user_id=draft.user_id,
        images=tuple(ref for ref, _ in images),
        prompt=draft.prompt,
        system_instruction=draft.system_instruction,
        schema_json=draft.schema_json or "",
        schema_is_struct=draft.schema_is_struct,
        model=draft.model or defaults.model,
        priority=draft.priority or DEFAULT_PRIORITY,
        timeout=draft.timeout or defaults.timeout,
        max_retries=defaults.max_retries if draft.max_retries is None else draft.max_retries,
        labels=dict(sorted(draft.labels.items())),
        generation=generation,
        cache=CachePolicy(draft.cache or CachePolicy.USE),
        fail_fast=draft.fail_fast,
        schedule_time=draft.schedule_time,
        expire_time=draft.expire_time,
    )
    return CheckedSpec(spec=spec, new_images=tuple(new for _, new in images if new))


def check_request_id(request_id: str, path: str) -> list[Violation]:
    """Check a request_id."""
    check = _Checker("")
    check.text(path, request_id, max_characters=MAX_ID)
    return check.violations


def check_labels(labels: Mapping[str, str], path: str) -> list[Violation]:
    """Check labels that are set, or asked for."""
    check = _Checker(path)
    check.labels(labels)
    return check.violations


def check_user(client_id: str, user_id: str) -> list[Violation]:
    """Check the ids of a client and of one of its users."""
    check = _Checker("")
    check.text("client_id", client_id, required=True, max_characters=MAX_ID)
    check.text("user_id", user_id, required=True, max_characters=MAX_ID)
    return check.violations


def forget_schemas() -> None:
    """Forget the schemas that were checked."""
    _schema_refusal.cache_clear()


@lru_cache(maxsize=256)
def _schema_refusal(text: str) -> tuple[str, str] | None:
    """Return where and why a schema is refused. Backends send the same few schemas again and again."""
    try:
        check_schema(text)
    except BadSchema as bad:
        return bad.path, bad.message
    return None


class _Checker:
    """Collects violations below a path."""

    def __init__(self, path: str) -> None:
        self._prefix = f"{path}." if path else ""
        self.violations: list[Violation] = []

    def that(self, holds: bool, name: str, description: str) -> None:  # noqa: FBT001 - reads as an assertion
        if not holds:
            self.violations.append(Violation(f"{self._prefix}{name}", description))

    def text(
        self,
        name: str,
        value: str,
        *,
        required: bool = False,
        max_characters: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        if required and not value.strip():
            self.that(False, name, "is required")  # noqa: FBT003 - always a violation
        elif max_characters is not None and len(value) > max_characters:
            self.that(False, name, f"has more than {max_characters} characters")  # noqa: FBT003
        elif max_bytes is not None and len(value.encode()) > max_bytes:
            self.that(False, name, f"has more than {max_bytes // 1024} KiB")  # noqa: FBT003
        # Postgres cannot store it.
        self.that("\x00" not in value, name, "contains the character NUL")

    def times(
        self, schedule_time: datetime.datetime | None, expire_time: datetime.datetime | None, now: datetime.datetime
    ) -> None:
        self.that(
            schedule_time is None or schedule_time <= now + MAX_SCHEDULE_AHEAD,
            "schedule_time",
            f"must be at most {MAX_SCHEDULE_AHEAD.days} days ahead",
        )
        self.that(expire_time is None or expire_time > now, "expire_time", "must not be over")
        self.that(
            schedule_time is None or expire_time is None or schedule_time < expire_time,
            "expire_time",
            "must be later than schedule_time",
        )

    def images(self, drafts: tuple[ImageDraft, ...], limits: ImageLimits) -> list[tuple[ImageRef, NewImage | None]]:
        self.that(bool(drafts), "images", "at least one is required")
        self.that(len(drafts) <= MAX_IMAGES, "images", f"at most {MAX_IMAGES} are allowed")
        found = [self._image(draft, f"images[{index}]", limits) for index, draft in enumerate(drafts[:MAX_IMAGES])]
        return [image for image in found if image is not None]

    def _image(self, draft: ImageDraft, name: str, limits: ImageLimits) -> tuple[ImageRef, NewImage | None] | None:
        if draft.uri is not None:
            self.that(False, f"{name}.uri", "is not supported yet; send data, or upload and send sha256")  # noqa: FBT003
        elif draft.sha256 is not None:
            self.that(
                bool(_SHA256.fullmatch(draft.sha256)), f"{name}.sha256", "must be 64 lower-case hexadecimal digits"
            )
            return ImageRef(sha256=draft.sha256, mime_type=draft.mime_type, size=0), None
        elif not draft.data:
            self.that(False, f"{name}.data", "is required, or a sha256")  # noqa: FBT003
        else:
            return self._inline_image(draft.data, draft.mime_type, name, limits)
        return None

    def _inline_image(
        self, data: bytes, mime_type: str, name: str, limits: ImageLimits
    ) -> tuple[ImageRef, NewImage] | None:
        try:
            image = new_image(data, mime_type, limits)
        except ImageRefused as refusal:
            self.that(False, f"{name}.{refusal.field}", str(refusal))  # noqa: FBT003
            return None
        return image.ref, image

    def schema(self, draft: SpecDraft) -> None:
        name = "response_schema" if draft.schema_is_struct else "response_schema_json"
        if draft.schema_json is None:
            self.that(False, name, "a schema is required")  # noqa: FBT003
            return
        if refusal := _schema_refusal(draft.schema_json):
            path, message = refusal
            self.that(False, f"{name}.{path}" if path else name, message)  # noqa: FBT003

    def labels(self, labels: Mapping[str, str]) -> None:
        self.that(len(labels) <= MAX_LABELS, "labels", f"at most {MAX_LABELS} are allowed")
        for name, value in list(labels.items())[:MAX_LABELS]:
            path = f"labels[{name[:MAX_LABEL_NAME]}]"
            self.that(0 < len(name) <= MAX_LABEL_NAME, path, f"its name must have 1 to {MAX_LABEL_NAME} characters")
            self.that(len(value) <= MAX_LABEL_VALUE, path, f"has more than {MAX_LABEL_VALUE} characters")
            self.that("\x00" not in name + value, path, "contains the character NUL")

    def generation(self, generation: Generation) -> Generation:
        temperature, tokens = generation.temperature, generation.max_output_tokens
        self.that(temperature is None or 0 <= temperature <= 2, "generation.temperature", "must be from 0 to 2")
        self.that(tokens is None or tokens > 0, "generation.max_output_tokens", "must be positive")
        return Generation(
            temperature=temperature,
            max_output_tokens=tokens,
            media_resolution=self._choice(
                "media_resolution", generation.media_resolution, "MEDIA_RESOLUTION_", _MEDIA_RESOLUTIONS
            ),
            thinking_level=self._choice(
                "thinking_level", generation.thinking_level, "THINKING_LEVEL_", _THINKING_LEVELS
            ),
            service_tier=self._choice("service_tier", generation.service_tier, "SERVICE_TIER_", _SERVICE_TIERS),
        )

    def _choice(self, name: str, value: str, prefix: str, choices: tuple[str, ...]) -> str:
        """Take the provider's spelling too: any case, and its enum's prefix."""
        chosen = value.upper().removeprefix(prefix)
        self.that(not chosen or chosen in choices, f"generation.{name}", f"must be one of {', '.join(choices)}")
        return chosen


def new_image(data: bytes, mime_type: str, limits: ImageLimits) -> NewImage:
    """Check an image's header and name it by its hash.

    Raises:
        ImageRefused: Not an image that Gemini takes, too large, or not of the declared type.
    """
    header = check_image(data, mime_type, limits)
    ref = ImageRef(sha256=hashlib.sha256(data).hexdigest(), mime_type=header.mime_type, size=len(data))
    return NewImage(ref=ref, data=data)
