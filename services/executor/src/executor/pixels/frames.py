"""What the executor and a worker say to each other over the worker's pipes.

A worker says READY once. Then the executor sends an image, its length before it, and the worker replies: the length
of a JSON object, that object, and the new bytes if there are any. Nothing here is pickled: a worker that a hostile
image has taken over can lie, and no more than that.
"""

import json
import struct
from dataclasses import dataclass
from typing import IO

Pipe = IO[bytes]

READY = b"R"
MAX_NEW_BYTES = 64 * 1024 * 1024
"""An image that grows beyond this on its way through a worker is refused."""

OUT_OF_MEMORY = 75
"""Exit status of a worker that had too little for an image."""

_LENGTH = struct.Struct(">I")
_MAX_REPLY_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What became of an image.

    Attributes:
        mime_type: What it is; "" if it was refused.
        refusal: Why it was refused, a sentence.
        new_data: What to use in its place; None if it is fine as it is.
    """

    mime_type: str = ""
    refusal: str = ""
    new_data: bytes | None = None


class Nonsense(Exception):
    """What a worker said is no reply."""


def write_request(pipe: Pipe, data: bytes) -> None:
    """Send an image. Raises OSError if the worker has ended."""
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def read_request(pipe: Pipe) -> bytes | None:
    """Wait for the next image; None once there will be no more."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    length = _LENGTH.unpack(head)[0]
    data = pipe.read(length)
    return data if len(data) == length else None


def write_reply(pipe: Pipe, reply: Reply) -> None:
    length = None if reply.new_data is None else len(reply.new_data)
    head = json.dumps({"mime_type": reply.mime_type, "refusal": reply.refusal, "new_bytes": length}).encode()
    pipe.write(_LENGTH.pack(len(head)) + head)
    if reply.new_data is not None:
        pipe.write(reply.new_data)
    pipe.flush()


def read_reply(pipe: Pipe) -> Reply:
    """Wait for a reply. Raises Nonsense, and EOFError if the worker ends before it."""
    length = _LENGTH.unpack(_read(pipe, _LENGTH.size))[0]
    if length > _MAX_REPLY_BYTES:
        raise Nonsense
    match _parsed(_read(pipe, length)):
        case {"mime_type": str(mime_type), "refusal": str(refusal), "new_bytes": None}:
            return Reply(mime_type=mime_type, refusal=refusal)
        case {"mime_type": str(mime_type), "refusal": str(refusal), "new_bytes": int(new_bytes)} if (
            0 < new_bytes <= MAX_NEW_BYTES
        ):
            return Reply(mime_type=mime_type, refusal=refusal, new_data=_read(pipe, new_bytes))
        case _:
            raise Nonsense


def _read(pipe: Pipe, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _parsed(head: bytes) -> object:
    try:
        return json.loads(head)
    except (ValueError, RecursionError):
        raise Nonsense from None
