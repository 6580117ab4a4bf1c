"""What the demo asks: photographs to describe, business documents to read, at all three priorities."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devkit import documents
from visionjobs import Image, JobSpec

PHOTOGRAPHS = (
    ("astronaut.png", "portrait"),
    ("coffee.png", "still life"),
    ("chelsea.png", "animal"),
    ("rocket.jpg", "launch"),
    ("coins.png", "museum"),
    ("hubble_deep_field.jpg", "sky"),
)

_DESCRIBE = "Describe this photograph for a picture library."
_DESCRIPTION = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "description": "At most ten words."},
        "subject": {"type": "string", "enum": ["person", "animal", "object", "scenery", "other"]},
        "main_colours": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
        "brightness": {"type": "number", "minimum": 0, "maximum": 1},
        "indoors": {"type": "boolean"},
    },
    "required": ["title", "subject", "main_colours", "brightness", "indoors"],
}

_CHECK = "Would you publish this photograph? Judge its technical quality."
_QUALITY = {
    "type": "object",
    "properties": {
        "sharpness": {"type": "integer", "minimum": 1, "maximum": 10},
        "exposure": {"type": "string", "enum": ["under", "right", "over"]},
        "publish": {"type": "boolean"},
        "remark": {"type": "string"},
    },
    "required": ["sharpness", "exposure", "publish", "remark"],
}


@dataclass(frozen=True, slots=True)
class Task:
    """One job of the demo, and what a person calls it."""

    name: str
    spec: JobSpec


def all_tasks(samples: Path) -> list[Task]:
    """Return the jobs: the least urgent first, so that the urgent ones are seen to overtake them."""
    tasks = [
        Task(f"quality of {file}", _spec(samples / file, _CHECK, _QUALITY, priority=3, kind="quality"))
        for file, _ in PHOTOGRAPHS
    ]
    tasks += [
        Task(f"describe {file}", _spec(samples / file, _DESCRIBE, _DESCRIPTION, priority=2, kind=kind))
        for file, kind in PHOTOGRAPHS
    ]
    for seed in (1, 2):
        for draw in (documents.receipt, documents.invoice, documents.form):
            document = draw(seed)
            spec = JobSpec(
                user_id="demo",
                images=(Image(data=document.image_png, mime_type="image/png"),),
                prompt=document.prompt,
                response_schema=document.schema,
                priority=1,
                labels={"demo": "yes", "kind": "document"},
            )
            tasks.append(Task(f"read {document.name}", spec))
    return tasks


def _spec(path: Path, prompt: str, schema: Mapping[str, object], *, priority: int, kind: str) -> JobSpec:
    return JobSpec(
        user_id="demo",
        images=(Image.from_file(path),),
        prompt=prompt,
        response_schema=schema,
        priority=priority,
        labels={"demo": "yes", "kind": kind},
    )
