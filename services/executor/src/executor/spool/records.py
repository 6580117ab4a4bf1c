"""The format of a spool file: records one after the other, each with its length and checksum.

    record = length (u32, little endian) · CRC-32 of the payload (u32, little endian) · payload

A crash may tear the last record, or leave zeros behind it; reading stops there. What a torn record was meant to hold
was never reported.
"""

import struct
import zlib
from collections.abc import Iterable

_HEADER = struct.Struct("<II")


def frame(payloads: Iterable[bytes]) -> bytes:
    """Return the bytes to append for these payloads, none of which is empty."""
    return b"".join(_HEADER.pack(len(payload), zlib.crc32(payload)) + payload for payload in payloads)


def parse(data: bytes) -> tuple[list[bytes], int]:
    """Return the payloads up to the first record that is not whole, and how many bytes stand after them."""
    payloads: list[bytes] = []
    position = 0
    while position + _HEADER.size <= len(data):
        length, checksum = _HEADER.unpack_from(data, position)
        start = position + _HEADER.size
        payload = data[start : start + length]
        if not payload or len(payload) < length or zlib.crc32(payload) != checksum:
            break
        payloads.append(payload)
        position = start + length
    return payloads, len(data) - position
