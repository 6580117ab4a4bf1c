"""Whether a PNG is whole: its critical chunks against their checksums, and its pixels against its header.

Pillow looks at neither: where half of a file came as zeros, it sees a picture.
"""

import struct
import zlib

_SIGNATURE_BYTES = 8
_HEAD = struct.Struct(">I4s")
_CHECKSUM = struct.Struct(">I")
_IHDR = struct.Struct(">IIBBBBB")
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PIECE_BYTES = 1024 * 1024

# Adam7: where each pass begins, and its steps; https://www.w3.org/TR/png-3/#8InterlaceMethods
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class Damaged(Exception):
    """The message says where, to stand after "it cannot be decoded"."""


def check(data: bytes) -> None:
    """Walk through a PNG that Pillow could open. Raises Damaged."""
    view = memoryview(data)
    at = _SIGNATURE_BYTES
    expected, found = None, 0
    inflater = zlib.decompressobj()
    while at + _HEAD.size <= len(data):
        length, kind = _HEAD.unpack_from(data, at)
        body = view[at + _HEAD.size : at + _HEAD.size + length]
        at += _HEAD.size + length + _CHECKSUM.size
        if at > len(data):
            raise Damaged(f"it is cut off in {_name(kind)}")
        if kind in _CRITICAL and zlib.crc32(body, zlib.crc32(kind)) != _CHECKSUM.unpack_from(data, at - 4)[0]:
            raise Damaged(f"{_name(kind)} does not match its checksum")
        if kind == b"IHDR" and expected is None:
            expected = _pixel_bytes(*_IHDR.unpack(body))
        elif kind == b"IDAT":
            found += _inflated(inflater, body)
        elif kind == b"IEND":
            break
    if expected is None or found < expected:
        raise Damaged("it has fewer pixels than its header says")


def _inflated(inflater: "zlib._Decompress", body: memoryview) -> int:
    """Return how many bytes a part stands for, piece by piece: it may be gigabytes."""
    found = 0
    rest: bytes | memoryview = body
    while rest and not inflater.eof:
        try:
            found += len(inflater.decompress(rest, _PIECE_BYTES))
        except zlib.error:
            raise Damaged("its pixels do not match their checksum, or are none") from None
        rest = inflater.unconsumed_tail
    return found


def _pixel_bytes(width: int, height: int, depth: int, color: int, _: int, __: int, interlaced: int) -> int:
    """Return what the pixels take before compression, a byte for each line's filter among them."""
    bits = depth * _CHANNELS.get(color, 0)
    if not interlaced:
        return _lines(width, height, bits)
    return sum(
        _lines(_ceil(width - left, right), _ceil(height - top, down), bits) for left, top, right, down in _PASSES
    )


def _lines(width: int, height: int, bits: int) -> int:
    return height * (1 + _ceil(width * bits, 8)) if width > 0 and height > 0 else 0


def _ceil(number: int, by: int) -> int:
    return -(-number // by)


def _name(kind: bytes) -> str:
    return kind.decode("ascii", errors="replace") if kind.isalpha() else "a chunk"
