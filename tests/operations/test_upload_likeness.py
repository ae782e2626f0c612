"""The same picture in other bytes, told from another picture."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image, ImageDraw, ImageFont
from uploading import picture

from syncer.operations.likeness import Look, alike, look

BIG = picture("big", size=(800, 600))


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def drawn(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def seen(content: bytes) -> Look:
    found = look(content)
    assert found is not None
    return found


@pytest.mark.parametrize("content", [picture("small"), BIG])
@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 40}), ("WEBP", {"quality": 40}), ("PNG", {})])
def test_encoded_anew_it_is_the_same_picture(content: bytes, kind: str, options: dict[str, object]):
    """Whatever the encoder lost."""
    assert alike(seen(content), seen(saved(drawn(content), kind, **options))) is True


@pytest.mark.parametrize("other", [picture("other", size=(800, 600)), picture("big", size=(600, 800))])
def test_another_picture_is_told(other: bytes):
    """By what it shows, or by its dimensions."""
    assert alike(seen(BIG), seen(other)) is False


def test_a_variant_is_not_taken_for_the_same():
    """One word differs, and nearly all pixels are the same."""
    looks = []
    for word in ("30% off", "50% off"):
        image = drawn(BIG).copy()
        ImageDraw.Draw(image).text((200, 200), word, fill=(255, 255, 255), font=ImageFont.load_default(60))
        looks.append(seen(saved(image)))

    assert alike(*looks) is None


def test_a_picture_that_was_turned_upright_is_the_same():
    """A service may carry out what the camera only noted."""
    image = drawn(BIG)
    exif = Image.Exif()
    exif[0x0112] = 6
    noted = saved(image, "JPEG", exif=exif)
    upright = saved(image.transpose(Image.Transpose.ROTATE_270), "JPEG")

    assert (seen(noted).width, seen(noted).height) == (600, 800)
    assert alike(seen(noted), seen(upright)) is True


def test_a_background_that_shows_through_does_not_count():
    """A service that cannot keep it paints one of its own."""
    image = drawn(BIG).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 400, 600))
    flat = Image.new("RGB", image.size, (255, 255, 255))
    flat.paste(image, mask=image)

    assert alike(seen(saved(image)), seen(saved(flat, "JPEG"))) is True


def test_a_picture_of_nothing_cannot_be_compared():
    """Where all is transparent there is nothing to see."""
    nothing = seen(saved(Image.new("RGBA", (64, 64), (0, 0, 0, 0))))

    assert alike(nothing, nothing) is None


def _claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims these dimensions."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + picture("a")[33:]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        BIG[: len(BIG) // 2],
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        _claiming(9_000, 9_000),
        _claiming(2_000_000, 2_000_000),
        _claiming(40_000, 40_000),
        saved(Image.new("I;16", (64, 64))),
    ],
)
def test_what_cannot_be_decoded_has_no_look(content: bytes):
    """Damaged, gigantic, of a kind that would run another program, or without a common scale."""
    assert look(content) is None
