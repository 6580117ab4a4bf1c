"""The stored form of a spec: JSON of the domain's own dataclass, so that an operator can read it with `spec->>'prompt'`."""

import hashlib

import msgspec

from scheduler.jobs import JobSpec

_encoder = msgspec.json.Encoder()
_canonical = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(JobSpec)


def encode(spec: JobSpec) -> str:
    return _encoder.encode(spec).decode()


def decode(text: str) -> JobSpec:
    return _decoder.decode(text)


def sha256(spec: JobSpec) -> bytes:
    """Return a hash of the domain's values: the same for the same request, however it was encoded on the wire."""
    return hashlib.sha256(_canonical.encode(spec)).digest()
