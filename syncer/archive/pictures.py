"""Say what kind of picture some bytes are, and whether they end where that kind of picture ends.

Promises to name a picture by its bytes, never by what a header claims; to tell a page of text from a picture; and to
give a reason only for what is surely cut off: bytes after the end, and formats it cannot follow, pass. It says nothing
about damage inside a picture, which only a hash can show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import filetype  # type: ignore[import-untyped]

from syncer.archive.mapped import Buffer
from syncer.errors import Damaged

HEAD = 8192  # as many of the first bytes as `sniff` looks at


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file: its media type, and the extension that its files get."""

    media_type: str
    extension: str


PNG = Kind("image/png", "png")
JPEG = Kind("image/jpeg", "jpg")
WEBP = Kind("image/webp", "webp")
GIF = Kind("image/gif", "gif")
AVIF = Kind("image/avif", "avif")
HEIC = Kind("image/heic", "heic")
TIFF = Kind("image/tiff", "tiff")
BMP = Kind("image/bmp", "bmp")
SVG = Kind("image/svg+xml", "svg")
UNKNOWN = Kind("application/octet-stream", "bin")

# By the recogniser's extension. An animated PNG is a PNG to whoever opens it. Rarer kinds are named as it names them.
_KINDS = {
    "apng": PNG,
    "png": PNG,
    "jpg": JPEG,
    "webp": WEBP,
    "gif": GIF,
    "tif": TIFF,
    "bmp": BMP,
    **{rare: Kind(media, rare) for rare, media in (("jpx", "image/jpx"), ("ico", "image/x-icon"))},
    "psd": Kind("image/vnd.adobe.photoshop", "psd"),
}
# Nearly all pictures are of these kinds, and no text begins like them, for it would be no UTF-8.
_COMMON = ((b"\x89PNG\r\n\x1a\n", PNG), (b"\xff\xd8\xff", JPEG))
# What a declared type promises that `sniff` would see: bytes that are none of these are not what was promised.
_SEEN = {kind.media_type for kind in (PNG, JPEG, WEBP, GIF, AVIF, HEIC, TIFF, BMP, SVG)} | {"image/jpg", "image/apng"}
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), HEIC),
}
# Each part is matched in one way only (`++`, `(?>`): bytes made to be divided in many ways would keep us for ever.
_SVG = re.compile(
    rb"""(?sx) \s*+
    (?: (?> <\?.*?\?> | <!--.*?--> | <!DOCTYPE\s++svg [^>\[]*+ (?: \[.*?\]\s*+ )?> ) \s*+ )*+
    < (?:svg:)? svg [\s>/]"""
)
_CLOSING = re.compile(rb"</|/>")
_IDAT = re.compile(rb"idat")
_MARKUP = re.compile(rb"\s*(?:<[!?a-z]|[{\[]\s*[\"{\[\]}])", re.IGNORECASE)
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def judge(declared: str | None, head: bytes) -> Kind:
    """Name the kind of file that begins with `head`; raise `Damaged` for what was meant to be a picture and is none.

    A picture of another kind than declared is fine. Bytes that nobody recognises and nobody promised to be of a kind
    that we would recognise are kept as they are: a format newer than this program is no reason to lose a file.
    """
    kind = sniff(head)
    if kind is not None:
        return kind
    claim = (declared or "").partition(";")[0].strip().lower()
    if is_text(head) or claim in _SEEN or claim.startswith("text/") or claim.endswith(("json", "xml")):
        raise Damaged("not a picture", expected=claim or "a picture", actual=_describe(head))
    return UNKNOWN


def sniff(head: bytes) -> Kind | None:
    """Recognise a picture by its first bytes."""
    for beginning, kind in _COMMON:
        if head.startswith(beginning):
            return kind
    if is_text(head):  # first, because two letters are enough to look like some of the binary kinds
        return SVG if _SVG.match(head.removeprefix(_BYTE_ORDER_MARKS[0])) else None
    if head[4:8] == b"ftyp":
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4]), len(head)), 4))]
        return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)
    found = filetype.image_match(head)
    return None if found is None else _KINDS.get(found.extension)


def is_text(head: bytes) -> bool:
    """Say whether bytes read as text: HTML, JSON, XML, or plain."""
    if head.startswith(_BYTE_ORDER_MARKS) or _MARKUP.match(head):
        return True
    if _CONTROLS.search(head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > 0 and error.start >= len(head) - 3  # a letter that the end of the head cuts
    return True


def _describe(head: bytes) -> str:
    return "text" if is_text(head) else "bytes of no known kind"


def complete(kind: Kind, buffer: Buffer) -> str | None:
    """Say why a picture is cut off; None where its end is there, or where its kind has no end that can be told."""
    match kind:
        case Kind(extension="png"):
            return _png(buffer)
        case Kind(extension="jpg"):
            return _jpeg(buffer)
        case Kind(extension="webp"):
            missing = int.from_bytes(buffer[4:8], "little") + 8 - len(buffer)
            return f"{missing} bytes are missing" if missing > 0 else None
        case Kind(extension="avif" | "heic"):
            return _boxes(buffer)
        case Kind(extension="svg"):
            return None if _CLOSING.search(buffer) else "no closing tag"
        case _:
            return None


def _png(buffer: Buffer) -> str | None:
    """Walk the chunks (length, type, data, checksum) to `IEND`."""
    at = 8
    while at + 12 <= len(buffer):
        kind = buffer[at + 4 : at + 8]
        at += 12 + int.from_bytes(buffer[at : at + 4])
        if kind == b"IEND":
            return None if at <= len(buffer) else "cut inside IEND"
    return "no IEND chunk"


# A byte 0xff in the pixels is followed by zero, or is a restart marker (d0–d7), or fills (ff): none of these counts.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_ALONE = b"\x01\xd8"  # markers without a segment
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9


def _jpeg(buffer: Buffer) -> str | None:
    """Walk the segments to the pixels, then to the end marker; the end of a thumbnail in a segment does not count."""
    at = 2
    while (found := _JPEG_MARKER.search(buffer, at)) is not None:
        marker = buffer[found.start() + 1]
        at = found.end()
        if marker == _JPEG_END:
            return None
        if marker in _JPEG_ALONE:
            continue
        at += max(2, int.from_bytes(buffer[at : at + 2]))
        if marker == _JPEG_SCAN and at + 2 <= len(buffer) and buffer[-2:] == b"\xff\xd9":
            return None  # the common case, without a look at the pixels
    return "no end marker"


def _boxes(buffer: Buffer) -> str | None:
    """Walk the boxes (length, type, content) of AVIF and HEIC; the pixels are in `mdat`, or in an `idat` of `meta`."""
    at = 0
    seen = set()
    while at + 8 <= len(buffer):
        length, kind = int.from_bytes(buffer[at : at + 4]), bytes(buffer[at + 4 : at + 8])
        if not (kind.isascii() and kind.decode("ascii").isprintable()):
            break  # not a box: bytes after the end
        if length == 1:  # a large box has its length in the next eight bytes
            length = max(16, int.from_bytes(buffer[at + 8 : at + 16]))
        if length == 0:  # to the end of the file
            length = len(buffer) - at
        seen.add(kind)
        at += max(8, length)
        if at > len(buffer):
            return "cut inside a box"
    if b"mdat" in seen or _IDAT.search(buffer):
        return None
    return "no pixels"
