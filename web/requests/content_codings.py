"""Decompresses bodies, gzip and zstd, up to a limit of size; the memory needed is about that limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

from headrace.errors import HeadraceError
from web.requests.zstd import zstd

GZIP_WINDOW_BITS = 31
# RFC 9659: a window of at most 8 MB. A frame may ask for 2 GB, and the window is held in memory.
ZSTD_WINDOW_LOG = 23
# Members of gzip, frames of zstd: each allocates a new decompressor.
MOST_PARTS = 100
MOST_RATIO = 1_100
"""Beyond `FREE_BYTES`, a body may be this many times as large as it was sent. gzip cannot exceed it (1,032); a frame of
zstd can be 10,000 times as large."""
FREE_BYTES = 1_000_000


class UnreadableBodyError(HeadraceError):
    """The body does not match its Content-Encoding."""


class PackedTooWellError(HeadraceError):
    """The body is large after decompression, and was next to nothing before."""


class UnpackedTooLargeError(HeadraceError):
    """The body is too large after decompression."""


class _Unpacker(Protocol):
    def decompress(self, data: bytes, max_length: int) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class Coding(NamedTuple):
    """A content coding: the decompressor for one part, and the error that it raises."""

    unpacker: Callable[[], _Unpacker]
    error: type[Exception]


_GZIP = Coding(lambda: zlib.decompressobj(GZIP_WINDOW_BITS), zlib.error)
_ZSTD = Coding(
    lambda: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}), zstd.ZstdError
)

CODINGS = {"gzip": _GZIP, "x-gzip": _GZIP, "zstd": _ZSTD}
ACCEPT_ENCODING = "gzip, zstd"


def unpack(body: bytes, coding: Coding, most_bytes: int) -> bytes:
    """The decompressed body. Raises UnreadableBodyError, PackedTooWellError and UnpackedTooLargeError."""
    pieces = []
    most_by_ratio = max(FREE_BYTES, MOST_RATIO * len(body))
    room = min(most_bytes, most_by_ratio) + 1
    for _ in range(MOST_PARTS):
        unpacker = coding.unpacker()
        try:
            piece = unpacker.decompress(body, room)
        except coding.error:
            raise UnreadableBodyError from None
        room -= len(piece)
        if room <= 0:
            raise UnpackedTooLargeError if most_bytes <= most_by_ratio else PackedTooWellError
        if not unpacker.eof:
            raise UnreadableBodyError
        pieces.append(piece)
        body = unpacker.unused_data
        if not body:
            return b"".join(pieces)
    raise UnreadableBodyError
