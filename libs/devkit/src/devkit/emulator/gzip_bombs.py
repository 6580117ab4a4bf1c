"""Bodies that are small when they are sent and huge when they are read."""

import struct
import zlib
from collections.abc import Iterator

_BLANKS = b" " * (1 << 20)
# Magic, deflate, no flags, no time, best compression, unknown system.
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"


def blanks(count: int, *, piece_bytes: int = len(_BLANKS)) -> Iterator[bytes]:
    """Yield so many blanks, piece by piece."""
    for start in range(0, count, piece_bytes):
        yield _BLANKS[: min(piece_bytes, count - start)]


def gzipped(body: bytes, padding_bytes: int) -> bytes:
    """Return a body with blanks after its first byte as gzip; neither time nor memory grows as the blanks do, nearly."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [deflater.compress(body[:1]), deflater.flush(zlib.Z_FULL_FLUSH)]
    # After a full flush the same input gives the same bytes, so that they can be repeated.
    deflated = {
        len(piece): deflater.compress(piece) + deflater.flush(zlib.Z_FULL_FLUSH)
        for piece in (_BLANKS, _BLANKS[: padding_bytes % len(_BLANKS)])
    }
    checksum = zlib.crc32(body[:1])
    for piece in blanks(padding_bytes):
        parts.append(deflated[len(piece)])
        checksum = zlib.crc32(piece, checksum)
    parts += [deflater.compress(body[1:]), deflater.flush()]
    trailer = struct.pack("<II", zlib.crc32(body[1:], checksum), (len(body) + padding_bytes) & 0xFFFFFFFF)
    return b"".join([_HEADER, *parts, trailer])
