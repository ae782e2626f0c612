"""Say whether two files show the same picture, though their bytes differ.

For a service that encodes anew what it is given: the dimensions have to agree as a viewer would show them, and so have
small versions of the two, on the whole and everywhere, so that two variants of one design are not taken for one. It is
an opinion about pictures and no proof. A kind that cannot be decoded here, more pixels than anybody needs and whatever
a decoder stumbles over come to "cannot tell". No I/O; decoding takes time and memory: it is for a thread of its own.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field

from PIL import ExifTags, Image, ImageChops, ImageOps, ImageStat

SIDE = 64  # cells of the small version at most, in each direction
CELL = 8  # pixels of the picture at least in each: a lossy encoder keeps their mean, not each of them
MOST_PIXELS = 50_000_000  # decoded, they take up to four bytes each
MEAN = 10.0  # of 255, in the channel that differs most, for the same picture: a poor JPEG comes to 3, a tiny one to 8
PEAK = 48  # of 255, in the one place that differs most, likewise: another word on a button comes to 60 and more
OTHER = 24.0  # of 255, from which on it is another picture, as it is for any two that have nothing in common: 50 and up
_OPAQUE = 250

# Not all that the library knows: some of its decoders run other programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_TURNED = frozenset({5, 6, 7, 8})  # the orientations that swap width and height

# A header that claims a gigantic picture is a reason to leave it alone, like any other.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Look:
    """What a picture looks like: its dimensions in pixels as it is shown, and a small version in RGBA."""

    width: int
    height: int
    small: bytes = field(repr=False)

    @property
    def cells(self) -> tuple[int, int]:
        """The dimensions of the small version."""
        return _cells(self.width, self.height)


def look(picture: bytes) -> Look | None:
    """Decode a picture and make it small; None where that cannot be done."""
    try:
        with Image.open(io.BytesIO(picture), formats=_FORMATS) as opened:
            width, height = opened.size
            if width * height > MOST_PIXELS or opened.mode[0] in "IF":  # 16 bits and more, or numbers: no common scale
                return None
            if opened.getexif().get(ExifTags.Base.Orientation) in _TURNED:
                width, height = height, width
            opened.draft("RGB", (CELL * SIDE, CELL * SIDE))  # a JPEG need not be decoded whole
            ImageOps.exif_transpose(opened, in_place=True)
            shown = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
            small = shown.resize(_cells(width, height), Image.Resampling.BOX).convert("RGBA")
    except Exception:  # whatever a decoder raises over a file that is damaged, or made to be odd
        return None
    return Look(width, height, small.tobytes())


def alike(one: Look, other: Look) -> bool | None:
    """Say whether two pictures are the same one; None where that cannot be told."""
    if (one.width, one.height) != (other.width, other.height):
        return False
    first, second = (Image.frombytes("RGBA", each.cells, each.small) for each in (one, other))
    # Where one of them lets its background through, the other may have any colour painted there.
    opaque = ImageChops.darker(first.getchannel("A"), second.getchannel("A")).point(lambda a: 255 * (a >= _OPAQUE))
    apart = ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second.convert("RGB")), opaque)
    if 8 * apart.count[0] < len(one.small) // 4:  # too little of them is to be seen
        return None
    mean, peak = max(apart.mean), max(high for _, high in apart.extrema)
    if mean <= MEAN and peak <= PEAK:
        return True
    return False if mean > OTHER else None


def _cells(width: int, height: int) -> tuple[int, int]:
    return min(SIDE, max(1, width // CELL)), min(SIDE, max(1, height // CELL))
