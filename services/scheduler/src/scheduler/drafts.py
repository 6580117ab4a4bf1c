"""Requests as callers sent them: nothing is checked, nothing is filled in."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler.jobs import Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDraft:
    """An image as it was sent: one of data, uri and sha256 is set, or none."""

    data: bytes | None = None
    uri: str | None = None
    sha256: str | None = None
    mime_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostProcessDraft:
    """A second step as it was sent; the schema as in SpecDraft."""

    model: str = ""
    prompt: str = ""
    schema_json: str | None = None
    schema_is_struct: bool = False


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
    post_process: PostProcessDraft | None = None
    cache: int = 0
    fail_fast: bool = False
    schedule_time: datetime.datetime | None = None
    expire_time: datetime.datetime | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
