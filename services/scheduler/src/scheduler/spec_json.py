"""The stored form of a spec: JSON of the domain's own dataclass, so that an operator can read it with `spec->>'prompt'`."""

import dataclasses
import hashlib
import json
from functools import lru_cache

import msgspec

from scheduler.jobs import BLANKS, CachePolicy, Generation, JobSpec, PostProcess

_encoder = msgspec.json.Encoder()
_canonical = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(JobSpec)


def encode(spec: JobSpec) -> str:
    return _encoder.encode(spec).decode()


def blanks() -> str:
    """Return what a purge puts in the place of a spec's content: those fields alone."""
    return _encoder.encode(BLANKS).decode()


def decode(text: str) -> JobSpec:
    return _decoder.decode(text)


def sha256(spec: JobSpec) -> bytes:
    """Return a hash of the domain's values: the same for the same request, however it was encoded on the wire."""
    canonical = dataclasses.replace(
        spec,
        schema_json=_compact(spec.schema_json),
        generation=_explicit(spec.generation),
        post_process=_canonical_step(spec.post_process),
    )
    return hashlib.sha256(_canonical.encode(canonical)).digest()


def dedup_key(client_id: str, spec: JobSpec) -> bytes | None:
    """Return what identical requests of one client have in common, None for one that wants to be alone.

    That is everything the providers get to see, and nothing else: not the priority, the labels, or for whom it is. What
    is at an address may be another image each time, so no job is identical to one that names one.
    """
    if spec.cache is CachePolicy.OFF or any(image.uri for image in spec.images):
        return None
    request = [
        client_id,
        spec.model,
        spec.prompt,
        spec.system_instruction,
        _compact(spec.schema_json),
        [(image.sha256, image.mime_type) for image in spec.images],
        _explicit(spec.generation),
        _canonical_step(spec.post_process),
    ]
    return hashlib.sha256(_canonical.encode(request)).digest()


def schema_sha256(schema_json: str) -> str:
    """Return the hash of a schema's text, whatever white space is between its parts, in lower-case hex."""
    return hashlib.sha256(_compact(schema_json).encode()).hexdigest()


def _canonical_step(step: PostProcess | None) -> PostProcess | None:
    return None if step is None else dataclasses.replace(step, schema_json=_compact(step.schema_json))


def _explicit(generation: Generation) -> Generation:
    """Return the options with what an empty one means."""
    return dataclasses.replace(generation, service_tier=generation.service_tier or "STANDARD")


def forget_schemas() -> None:
    """Forget the schemas that were compacted."""
    _compact.cache_clear()


@lru_cache(maxsize=256)
def _compact(schema_json: str) -> str:
    """Return the schema without the white space that means nothing; its order means something to the model."""
    return json.dumps(json.loads(schema_json), separators=(",", ":"))
