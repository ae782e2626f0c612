"""What headers say about a body, and undoing its encoding."""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from syncer.errors import Damaged, UnexpectedAnswer
from syncer.service import content

MD5, SHA256, CRC = hashlib.md5(b"x").digest(), hashlib.sha256(b"x").digest(), b"\x01\x02\x03\x04"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


async def unpacked(parts: list[bytes], encoding: str | None) -> bytes:
    async def chunks():
        for part in parts:
            yield part

    async with aclosing(content.decoded(chunks(), encoding)) as decoded:
        return b"".join([piece async for piece in decoded])


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ([("Content-MD5", b64(MD5))], {"md5": MD5}),
        ([("X-Goog-Hash", f"crc32c={b64(CRC)},md5={b64(MD5)}")], {"crc32c": CRC, "md5": MD5}),
        ([("x-goog-hash", f"crc32c={b64(CRC)}"), ("x-goog-hash", f"md5={b64(MD5)}")], {"crc32c": CRC, "md5": MD5}),
        ([("Digest", f"SHA-256={b64(SHA256)}, unixsum=5")], {"sha256": SHA256}),
        ([("Repr-Digest", f"sha-256=:{b64(SHA256)}:, sha-512=:AAAA:")], {"sha256": SHA256}),
        ([("Content-Digest", f"sha-256=:{b64(SHA256)}:")], {"sha256": SHA256}),
        ([("Content-MD5", "rubbish!"), ("x-goog-hash", "md5"), ("Digest", "=,;"), ("Repr-Digest", "")], {}),
        ([("Content-MD5", b64(SHA256)), ("x-goog-hash", "crc32c=é")], {}),
        ([("x-goog-hash", f"md5={b64(MD5)}"), ("x-goog-stored-content-encoding", "gzip")], {}),
        ([("x-goog-hash", f"md5={b64(MD5)}"), ("x-goog-stored-content-encoding", "identity")], {"md5": MD5}),
        ([], {}),
    ],
)
def test_stated_hashes_are_found_wherever_they_are(pairs, found):
    """Each header in use is read, several values and several headers too; what is malformed says nothing."""
    assert content.digests(headers(*pairs)) == found


def test_length_and_type_are_read_or_unknown():
    """A header that is missing or odd is one that says nothing."""
    assert content.length(headers(("Content-Length", "12"))) == 12
    assert [content.length(headers(("Content-Length", odd))) for odd in ("", "-1", "1e3", "x")] == [None] * 4
    assert content.media_type(headers(("Content-Type", "Image/PNG; a=b"))) == "image/png"
    assert content.media_type(headers(("Content-Type", ""))) is content.media_type(headers()) is None


@pytest.mark.parametrize("odd", ["text/\udcff", "text/\x1b[2J", "text/" + "x" * 5000, "a\u202eb"])
def test_what_headers_say_can_be_written_down(odd):
    """Header text reaches the log and the journal: printable, short, and without half characters."""
    said = content.media_type(headers(("Content-Type", odd)))
    with pytest.raises(UnexpectedAnswer) as caught:
        content.encoding(headers(("Content-Encoding", odd)))

    for text in (said, caught.value.facts["encoding"]):
        assert text.isprintable()
        assert len(text) <= 100
    assert said.startswith(odd[:1])


def test_unknown_encoding_is_unexpected():
    """What nobody asked for and we cannot undo is no picture."""
    assert content.encoding(headers(("Content-Encoding", "identity"))) is None
    assert content.encoding(headers(("Content-Encoding", "X-GZIP"))) == "gzip"
    for odd in ("br", "gzip, gzip", "gzip, identity", "zstd"):
        with pytest.raises(UnexpectedAnswer):
            content.encoding(headers(("Content-Encoding", odd)))


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@given(data=st.binary(max_size=2000), at=st.integers(0, 2000))
async def test_packed_bodies_come_out_as_they_went_in(data, at):
    """gzip, gzip in two members, zlib and bare deflate are undone wherever the network cut them."""
    for encoding, packed in [
        (None, data),
        ("gzip", gzip.compress(data, mtime=0)),
        ("gzip", gzip.compress(data[:7], mtime=0) + gzip.compress(data[7:], mtime=0)),
        ("deflate", zlib.compress(data)),
    ]:
        assert await unpacked([part for part in (packed[:at], packed[at:]) if part], encoding) == data
    assert await unpacked([raw_deflate(b"picture" * 9)], "deflate") == b"picture" * 9


@pytest.mark.parametrize("surplus", range(0, 260, 13))
async def test_last_bytes_are_not_left_in_the_unpacker(surplus):
    """A piece may be full when all input is taken in: what is still inside comes out as well."""
    data = bytes(256 * 1024 + surplus)

    assert await unpacked([raw_deflate(data)], "deflate") == data


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b"picture" * 50, mtime=0)[:-9]),
        ("gzip", gzip.compress(b"picture" * 50, mtime=0)[:-1]),
        ("gzip", gzip.compress(b"picture", mtime=0) + b"trailing"),
        ("gzip", b"not packed"),
        ("gzip", b""),
        ("deflate", zlib.compress(b"picture" * 50)[:-2]),
        ("deflate", zlib.compress(b"picture") + b"trailing"),
    ],
)
async def test_broken_packing_is_damage(encoding, packed):
    """A packed body that is cut, continued or not packed at all does not pass for whole."""
    with pytest.raises(Damaged):
        await unpacked([packed], encoding)


@pytest.mark.parametrize("member", [gzip.compress(b"", mtime=0), gzip.compress(b"x", mtime=0)], ids=["empty", "small"])
async def test_packing_around_nothing_does_not_go_on_for_ever(member):
    """A reader's limit is met by what comes out; where hardly anything does, the bytes that go in are bounded."""
    taken = 0

    async def endless():
        nonlocal taken
        while taken < 8_000_000:
            taken += 500 * len(member)
            yield member * 500

    async with aclosing(content.decoded(endless(), "gzip")) as pieces:
        with pytest.raises(UnexpectedAnswer, match="hardly anything"):
            async for _ in pieces:
                pass
    assert taken < 2_000_000


async def test_bomb_comes_in_small_pieces():
    """What a small body unpacks to is handed over piece by piece, so that a reader's limit can stop it."""
    packed = gzip.compress(bytes(20_000_000), mtime=0)

    async def chunks():
        yield packed

    async with aclosing(content.decoded(chunks(), "gzip")) as pieces:
        sizes = [len(piece) async for piece in pieces]
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= 256 * 1024
