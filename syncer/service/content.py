"""Read what headers say about a body, and undo its encoding. Pure: bytes and headers in, bytes and values out."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterable

from multidict import CIMultiDictProxy

from syncer.errors import Damaged, UnexpectedAnswer

_LENGTHS = {"md5": 16, "crc32c": 4, "sha256": 32}
_NAMES = {"md5": "md5", "crc32c": "crc32c", "sha-256": "sha256", "sha256": "sha256"}
_PIECE = 256 * 1024  # what a compressed chunk may become at once: a bomb is met piece by piece
_WRAPPING = 1024 * 1024  # what comes in may exceed twice what comes out by so much: packing hardly ever adds anything
_LONGEST_WORD = 100


def encoding(headers: CIMultiDictProxy[str]) -> str | None:
    """How the body is encoded; None for not at all. `UnexpectedAnswer` for what we did not ask for and cannot undo."""
    name = ", ".join(headers.getall("Content-Encoding", [])).strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip", "deflate"):
        return name.removeprefix("x-")
    raise UnexpectedAnswer("the body has an encoding that nobody asked for", encoding=_plain(name))


def length(headers: CIMultiDictProxy[str]) -> int | None:
    """The number of bytes that the header promises; None where it does not say."""
    text = headers.get("Content-Length", "")
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def media_type(headers: CIMultiDictProxy[str]) -> str | None:
    """The declared media type, without parameters."""
    return _plain(headers.get("Content-Type", "").partition(";")[0].strip().lower()) or None


def _plain(text: str) -> str:
    """What a header says, as it can be written down: bytes that are no UTF-8 come as halves of characters."""
    return "".join(character if character.isprintable() else "?" for character in text[:_LONGEST_WORD])


def digests(headers: CIMultiDictProxy[str]) -> dict[str, bytes]:
    """The hashes of the body that the headers state, by algorithm; malformed ones say nothing."""
    stated = [("md5", value) for value in headers.getall("Content-MD5", [])]
    # Google hashes what it stores; where that is gzip and it served us the unpacked bytes, the hash is of others.
    if headers.get("x-goog-stored-content-encoding", "identity").strip().lower() == "identity":
        stated += _listed(headers.getall("x-goog-hash", []))
    for name in ("Digest", "Content-Digest", "Repr-Digest"):
        stated += _listed(headers.getall(name, []))
    found: dict[str, bytes] = {}
    for name, text in stated:
        algorithm = _NAMES.get(name)
        value = _base64(text)
        if algorithm and value is not None and len(value) == _LENGTHS[algorithm]:
            found.setdefault(algorithm, value)
    return found


def _listed(values: list[str]) -> list[tuple[str, str]]:
    """Read `name=value, name=:value:`, over one header or several of the same name."""
    pairs = (item.strip().partition("=") for value in values for item in value.split(","))
    return [(name.strip().lower(), value.strip().strip(":")) for name, _, value in pairs]


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None


async def decoded(chunks: AsyncIterable[bytes], encoded: str | None) -> AsyncGenerator[bytes, None]:
    """Undo an encoding, piece by piece; `Damaged` where the encoded bytes are broken or end too early.

    `UnexpectedAnswer` where hardly anything comes out, so that a reader who bounds what comes out bounds it all.
    """
    if encoded is None:
        async for chunk in chunks:
            yield chunk
        return
    unpack = None
    taken = given = 0
    async for chunk in chunks:
        taken += len(chunk)
        rest, piece = chunk, b""
        while rest or len(piece) == _PIECE:  # a full piece: zlib may hold more of what it has already taken in
            if unpack is None:
                unpack = zlib.decompressobj(_window(encoded, rest))
            try:
                piece = unpack.decompress(rest, _PIECE)
            except zlib.error:
                raise Damaged("the body cannot be unpacked", encoding=encoded) from None
            if piece:
                given += len(piece)
                yield piece
            rest = unpack.unconsumed_tail
            if unpack.eof:
                if unpack.unused_data and encoded == "deflate":
                    raise Damaged("the body goes on after its end", encoding=encoded)
                rest = unpack.unused_data  # gzip may consist of several members
                unpack = None if rest else unpack
        if taken > 2 * given + _WRAPPING:
            raise UnexpectedAnswer("the body unpacks to hardly anything", encoding=encoded, packed=taken, bytes=given)
    if unpack is None or not unpack.eof:
        raise Damaged("the body ends in the middle of its packing", encoding=encoded)


def _window(encoded: str, start: bytes) -> int:
    if encoded == "gzip":
        return zlib.MAX_WBITS | 16
    # "deflate" means zlib's format; some servers send the bare stream, which cannot begin like zlib's header.
    return zlib.MAX_WBITS if start[0] & 0x0F == 8 and start[0] >> 4 <= 7 else -zlib.MAX_WBITS
