"""Turns what a caller sent into a valid spec with its defaults, or into a list of what is wrong with it.

The bounds are those of the contract. Nothing here knows the wire or the store.
"""

import datetime
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from scheduler import image_uri
from scheduler.drafts import ImageDraft, PostProcessDraft, SpecDraft
from scheduler.errors import Violation
from scheduler.image_header import MIME_TYPES, ImageLimits, ImageRefused, canonical_type, check_image
from scheduler.jobs import CachePolicy, Generation, ImageRef, JobSpec, NewImage, PostProcess
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
LOWEST_PRIORITY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a spec gets where it is silent, and which models it may name.

    Attributes:
        models: Of the first step.
        model: The one of a spec that names none.
        deepseek_models: Of the second step; the first is the one of a spec that names none.
        timeout: Of an attempt.
        flex_timeout: Of an attempt where the first step is done in the flex tier.
        low_priority_tier: The tier of jobs of the lowest priority that name none.
        max_retries: Of each step.
        image_limits: Of each image.
    """

    models: Sequence[str]
    model: str
    deepseek_models: Sequence[str] = ("deepseek-v4-flash", "deepseek-v4-pro")
    timeout: datetime.timedelta = datetime.timedelta(minutes=5)
    flex_timeout: datetime.timedelta = datetime.timedelta(minutes=20)
    low_priority_tier: str = "FLEX"
    max_retries: int = 3
    image_limits: ImageLimits = field(default_factory=ImageLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSpec:
    """A spec whose fields are right.

    Attributes:
        spec: Images given by sha256 have size 0 until the store has told it; those with a uri keep it.
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
    check.schema("", draft.schema_json, is_struct=draft.schema_is_struct)
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
    post_process = check.post_process(draft.post_process, defaults.deepseek_models)
    check.that(0 <= draft.cache <= max(CachePolicy), "cache", "is not a CachePolicy")
    for name, why in draft.refused.items():
        check.that(False, name, why)  # noqa: FBT003 - always a violation
    if check.violations:
        return check.violations
    spec = _filled_in(draft, [ref for ref, _ in images], generation, post_process, defaults)
    return CheckedSpec(spec=spec, new_images=tuple(new for _, new in images if new))


def _filled_in(
    draft: SpecDraft,
    images: Sequence[ImageRef],
    generation: Generation,
    post_process: PostProcess | None,
    defaults: Defaults,
) -> JobSpec:
    priority = draft.priority or DEFAULT_PRIORITY
    return JobSpec(
        user_id=draft.user_id,
        images=tuple(images),
        prompt=draft.prompt,
        system_instruction=draft.system_instruction,
        schema_json=draft.schema_json or "",
        schema_is_struct=draft.schema_is_struct,
        model=draft.model or defaults.model,
        priority=priority,
        timeout=draft.timeout or _timeout(generation.service_tier, priority, defaults),
        max_retries=defaults.max_retries if draft.max_retries is None else draft.max_retries,
        labels=dict(sorted(draft.labels.items())),
        generation=generation,
        post_process=post_process,
        cache=CachePolicy(draft.cache or CachePolicy.USE),
        fail_fast=draft.fail_fast,
        schedule_time=draft.schedule_time,
        expire_time=draft.expire_time,
    )


def _timeout(service_tier: str, priority: int, defaults: Defaults) -> datetime.timedelta:
    """Return how long an attempt may take by default: the flex tier answers within minutes, not seconds."""
    tier = service_tier or (defaults.low_priority_tier if priority == LOWEST_PRIORITY else "")
    return defaults.flex_timeout if tier == "FLEX" else defaults.timeout


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
            return self._linked_image(draft.uri, draft.mime_type, name), None
        if draft.sha256 is not None:
            self.that(
                bool(_SHA256.fullmatch(draft.sha256)), f"{name}.sha256", "must be 64 lower-case hexadecimal digits"
            )
            return ImageRef(sha256=draft.sha256, mime_type=draft.mime_type, size=0), None
        if not draft.data:
            self.that(False, f"{name}.data", "is required, or a sha256, or a uri")  # noqa: FBT003
            return None
        return self._inline_image(draft.data, draft.mime_type, name, limits)

    def _linked_image(self, uri: str, mime_type: str, name: str) -> ImageRef:
        refusal = image_uri.refusal(uri)
        self.that(refusal is None, f"{name}.uri", refusal or "")
        known = canonical_type(mime_type)
        self.that(
            not mime_type.strip() or known is not None, f"{name}.mime_type", f"must be one of {', '.join(MIME_TYPES)}"
        )
        return ImageRef(sha256="", mime_type=known or "", size=0, uri=uri)

    def _inline_image(
        self, data: bytes, mime_type: str, name: str, limits: ImageLimits
    ) -> tuple[ImageRef, NewImage] | None:
        try:
            image = new_image(data, mime_type, limits)
        except ImageRefused as refusal:
            self.that(False, f"{name}.{refusal.field}", str(refusal))  # noqa: FBT003
            return None
        return image.ref, image

    def schema(self, prefix: str, schema_json: str | None, *, is_struct: bool) -> None:
        name = f"{prefix}{'response_schema' if is_struct else 'response_schema_json'}"
        if schema_json is None:
            self.that(False, name, "a schema is required")  # noqa: FBT003
            return
        if refusal := _schema_refusal(schema_json):
            path, message = refusal
            self.that(False, f"{name}.{path}" if path else name, message)  # noqa: FBT003

    def post_process(self, draft: PostProcessDraft | None, models: Sequence[str]) -> PostProcess | None:
        if draft is None:
            return None
        known = f"{draft.model!r} is unknown; known are {', '.join(sorted(models))}"
        self.that(not draft.model or draft.model in models, "post_process.model", known)
        self.text("post_process.prompt", draft.prompt, required=True, max_bytes=MAX_TEXT_BYTES)
        self.schema("post_process.", draft.schema_json, is_struct=draft.schema_is_struct)
        return PostProcess(
            model=draft.model or models[0],
            prompt=draft.prompt,
            schema_json=draft.schema_json or "",
            schema_is_struct=draft.schema_is_struct,
        )

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
