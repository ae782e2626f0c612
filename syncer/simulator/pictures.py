"""Pictures that cost almost nothing: a few drawn looks, and a stamp that makes every file its own.

A `Picture` is a recipe, not bytes: twenty thousand of them weigh little. Each look is drawn once in a process and
kept; a picture's bytes are its look with a note of fixed length inside the file's own comment (PNG `tEXt`, JPEG
`COM`, WebP `XMP`). So the size is known without making the bytes, and no two notes give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageOps

LOOKS = 30

Colour = tuple[int, int, int]
Paint = Callable[[Image.Image, random.Random, tuple[Colour, ...]], None]

_PALETTES: tuple[tuple[Colour, ...], ...] = (
    ((24, 34, 74), (226, 88, 62), (255, 206, 148), (250, 240, 224)),
    ((13, 59, 62), (58, 157, 140), (244, 211, 94), (238, 244, 237)),
    ((58, 28, 92), (214, 84, 148), (255, 170, 140), (252, 236, 244)),
    ((18, 62, 104), (62, 146, 204), (250, 176, 120), (240, 247, 252)),
    ((52, 48, 40), (150, 120, 86), (214, 182, 140), (246, 240, 230)),
    ((16, 80, 56), (120, 180, 92), (238, 220, 130), (248, 250, 236)),
)
_SIZES = ((1024, 1024), (1024, 768), (768, 1024), (1024, 576), (576, 1024), (768, 768))
_PNG_SIZES = ((640, 640), (640, 480), (512, 640), (640, 360), (360, 640), (512, 512))  # PNG is the heavy one
_FORMATS = ("png", "jpeg", "webp")
_BLANK = b"0" * 64  # as long as the digest that takes its place


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture as a recipe: which look, and the note that makes its bytes its own."""

    look: int
    note: str

    @property
    def media_type(self) -> str:
        """What the content answer declares."""
        return f"image/{_format(self.look)}"

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return _size(self.look)

    @property
    def size(self) -> int:
        """The number of bytes that `render` returns."""
        return len(_drawn(self.look % LOOKS))

    def render(self) -> bytes:
        """Make the bytes, the same ones each time."""
        stamp = hashlib.sha256(self.note.encode()).hexdigest().encode()
        stamped = _drawn(self.look % LOOKS).replace(_BLANK, stamp, 1)
        return _with_checksum(stamped, stamp) if _format(self.look) == "png" else stamped


def _format(look: int) -> str:
    return _FORMATS[look % 3]


def _size(look: int) -> tuple[int, int]:
    sizes = _PNG_SIZES if _format(look) == "png" else _SIZES
    return sizes[look % LOOKS // 3 % len(sizes)]


@lru_cache(maxsize=LOOKS)
def _drawn(look: int) -> bytes:
    """Draw one look and encode it around a blank note."""
    chance = random.Random(look)  # noqa: S311 - a picture, not a secret
    palette = _PALETTES[look % len(_PALETTES)]
    width, height = _size(look)
    canvas = _backdrop((2 * width, 2 * height), chance, palette)  # twice the size: halving it smooths the edges
    _MOTIFS[look // 2 % len(_MOTIFS)](canvas, chance, palette)
    return _encode(canvas.reduce(2), _format(look))


def _encode(picture: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    match kind:
        case "jpeg":
            picture.save(out, "JPEG", quality=90, comment=_BLANK)
        case "webp":
            picture.save(out, "WEBP", quality=94, method=0, xmp=_BLANK)
        case _:
            picture.save(out, "PNG", compress_level=4)
            drawn = out.getvalue()
            body = b"tEXtComment\0" + _BLANK
            chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
            return drawn[:33] + chunk + drawn[33:]  # 33: the signature and the header chunk, always first
    return out.getvalue()


def _with_checksum(stamped: bytes, stamp: bytes) -> bytes:
    end = stamped.index(stamp) + len(stamp)
    checksum = zlib.crc32(b"tEXtComment\0" + stamp)
    return stamped[:end] + struct.pack(">I", checksum) + stamped[end + 4 :]


# --- what there is to see -----------------------------------------------------------------------------


def _backdrop(size: tuple[int, int], chance: random.Random, palette: tuple[Colour, ...]) -> Image.Image:
    """Blend three colours across the picture, at one of four angles."""
    ramp = Image.linear_gradient("L").rotate(chance.choice((0, 90, 180, 270)))
    dark, strong, warm, light = palette
    ends = chance.choice(((light, warm), (warm, light), (dark, strong), (strong, light)))
    return ImageOps.colorize(ramp, *ends).resize(size, Image.Resampling.BILINEAR)


def _glow(canvas: Image.Image, centre: tuple[float, float], radius: float, colour: Colour) -> None:
    side = int(2 * radius)
    fade = Image.radial_gradient("L").point(lambda far: max(0, 255 - int(1.45 * far)))  # nothing left at the edge
    mask = fade.resize((side, side), Image.Resampling.BILINEAR)
    canvas.paste(colour, (int(centre[0] - radius), int(centre[1] - radius)), mask)


def _sunrise(canvas: Image.Image, chance: random.Random, palette: tuple[Colour, ...]) -> None:
    """A glowing sun over hills."""
    width, height = canvas.size
    dark, strong, warm, light = palette
    sun = (width * chance.uniform(0.3, 0.7), height * chance.uniform(0.3, 0.45))
    _glow(canvas, sun, height * 0.45, light)
    pen = ImageDraw.Draw(canvas)
    pen.circle(sun, min(width, height) * 0.12, fill=warm)
    for layer, colour in enumerate((strong, _mix(strong, dark), dark)):
        top, phase = height * (0.55 + 0.14 * layer), chance.uniform(0, 6)
        ridge = [(x, top + height * 0.07 * math.sin(phase + 5 * x / width)) for x in range(0, width + 33, 32)]
        pen.polygon([*ridge, (width, height), (0, height)], fill=colour)


def _discs(canvas: Image.Image, chance: random.Random, palette: tuple[Colour, ...]) -> None:
    """Overlapping discs, some of them glowing."""
    width, height = canvas.size
    pen = ImageDraw.Draw(canvas)
    for step in range(14):
        centre = (width * chance.random(), height * chance.random())
        radius = min(width, height) * chance.uniform(0.05, 0.22)
        colour = chance.choice(palette)
        if step % 3:
            pen.circle(centre, radius, fill=colour)
        else:
            _glow(canvas, centre, 2 * radius, colour)


def _rings(canvas: Image.Image, chance: random.Random, palette: tuple[Colour, ...]) -> None:
    """Rings around one centre."""
    width, height = canvas.size
    pen = ImageDraw.Draw(canvas)
    centre = (width * chance.uniform(0.25, 0.75), height * chance.uniform(0.25, 0.75))
    _glow(canvas, centre, min(width, height) * 0.6, palette[3])
    for step in range(9, 0, -1):
        radius = min(width, height) * 0.055 * step
        pen.circle(centre, radius, outline=palette[step % 4], width=int(radius * 0.12) + 6)


def _ribbons(canvas: Image.Image, chance: random.Random, palette: tuple[Colour, ...]) -> None:
    """Waving ribbons from side to side."""
    width, height = canvas.size
    pen = ImageDraw.Draw(canvas)
    for step in range(7):
        middle, phase, swing = height * (step + 0.5) / 7, chance.uniform(0, 6), chance.uniform(0.03, 0.09)
        line = [(x, middle + height * swing * math.sin(phase + 6 * x / width)) for x in range(-64, width + 65, 24)]
        pen.line(line, fill=palette[step % 4], width=int(height * chance.uniform(0.02, 0.07)), joint="curve")


def _tiles(canvas: Image.Image, chance: random.Random, palette: tuple[Colour, ...]) -> None:
    """A quilt of quarter circles."""
    width, height = canvas.size
    side = min(width, height) // chance.choice((4, 5, 6))
    pen = ImageDraw.Draw(canvas)
    for left in range(0, width, side):
        for top in range(0, height, side):
            if chance.random() < 0.8:
                turn = chance.choice(((0, 0, 0), (side, 0, 90), (side, side, 180), (0, side, 270)))
                x, y = left + turn[0], top + turn[1]
                box = (x - side, y - side, x + side, y + side)
                pen.pieslice(box, turn[2], turn[2] + 90, fill=chance.choice(palette))


_MOTIFS: tuple[Paint, ...] = (_sunrise, _discs, _rings, _ribbons, _tiles)


def _mix(one: Colour, other: Colour) -> Colour:
    return ((one[0] + other[0]) // 2, (one[1] + other[1]) // 2, (one[2] + other[2]) // 2)
