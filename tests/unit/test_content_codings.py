"""Bodies that are packed: unpacked whole, never beyond the limit, and refused where they are not what they say."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.requests.content_codings import CODINGS, MOST_PARTS, UnpackedTooLargeError, UnreadableBodyError, unpack
from web.requests.zstd import zstd

PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}
MOST_BYTES = 1_000_000

either = pytest.mark.parametrize("name", PACK)


@given(st.sampled_from(sorted(PACK)), st.lists(st.binary(max_size=200), min_size=1, max_size=5))
def test_what_was_packed_comes_out_however_many_parts_it_has(name: str, parts: list[bytes]) -> None:
    whole = b"".join(parts)
    assert unpack(b"".join(map(PACK[name], parts)), CODINGS[name], len(whole)) == whole


@given(st.sampled_from(sorted(PACK)), st.binary(max_size=200))
def test_what_is_not_packed_is_refused(name: str, body: bytes) -> None:
    with pytest.raises((UnreadableBodyError, UnpackedTooLargeError)):
        unpack(b"x" + body, CODINGS[name], MOST_BYTES)


@either
def test_a_body_that_is_cut_off_or_goes_on_is_refused(name: str) -> None:
    packed = PACK[name](b"text" * 100)
    for wrong in (b"", packed[:-1], packed[: len(packed) // 2], packed + b"x", packed * 2 + packed[:-1]):
        with pytest.raises(UnreadableBodyError):
            unpack(wrong, CODINGS[name], MOST_BYTES)


@either
def test_the_limit_is_exact(name: str) -> None:
    packed = PACK[name](b"x" * 1_000)
    assert len(unpack(packed, CODINGS[name], 1_000)) == 1_000
    with pytest.raises(UnpackedTooLargeError):
        unpack(packed, CODINGS[name], 999)
    with pytest.raises(UnpackedTooLargeError):
        unpack(packed * 2, CODINGS[name], 1_999)


@either
def test_a_bomb_never_takes_much_memory(name: str) -> None:
    bomb = PACK[name](bytes(200_000_000))
    tracemalloc.start()
    with pytest.raises(UnpackedTooLargeError):
        unpack(bomb, CODINGS[name], MOST_BYTES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MOST_BYTES


@either
def test_only_so_many_parts(name: str) -> None:
    assert unpack(PACK[name](b"x") * MOST_PARTS, CODINGS[name], MOST_BYTES) == b"x" * MOST_PARTS
    with pytest.raises(UnreadableBodyError):
        unpack(PACK[name](b"") * (MOST_PARTS + 1), CODINGS[name], MOST_BYTES)


def test_a_zstd_frame_may_not_ask_for_a_large_window() -> None:
    large = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    with pytest.raises(UnreadableBodyError):
        unpack(large.compress(b"x" * 1_000) + large.flush(), CODINGS["zstd"], MOST_BYTES)
    allowed = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 23})
    assert len(unpack(allowed.compress(b"x" * 1_000) + allowed.flush(), CODINGS["zstd"], MOST_BYTES)) == 1_000
