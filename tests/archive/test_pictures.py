"""`pictures`: a picture is known by its bytes, and a cut one by its missing end."""

import io
import time

import pytest
from archive_parts import picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture
from PIL import features

from syncer.archive import pictures
from syncer.archive.pictures import complete, is_text, judge, sniff
from syncer.errors import Damaged

SVG = b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>\n'
KINDS = {
    "PNG": pictures.PNG,
    "JPEG": pictures.JPEG,
    "WEBP": pictures.WEBP,
    "GIF": pictures.GIF,
    "BMP": pictures.BMP,
    "TIFF": pictures.TIFF,
    **({"AVIF": pictures.AVIF} if features.check("avif") else {}),
}
ENDED = [name for name in ("PNG", "JPEG", "WEBP", "AVIF") if name in KINDS]


def box(kind: bytes, body: bytes = b"") -> bytes:
    return (8 + len(body)).to_bytes(4) + kind + body


HEIC = box(b"ftyp", b"mif1\0\0\0\0mif1heic") + box(b"meta", b"....") + box(b"mdat", b"pixels")


@pytest.mark.parametrize("name", KINDS)
def test_pictures_are_recognised(name):
    """Each kind that people save is known by its bytes, and is whole."""
    kind = sniff(picture(name)[: pictures.HEAD])
    assert kind == KINDS[name]
    assert complete(kind, picture(name)) is None


def test_kinds_without_a_writer_here():
    """SVG, HEIC and an animated PNG are recognised too."""
    frames = io.BytesIO()
    Picture.new("RGB", (4, 4)).save(frames, "PNG", save_all=True, append_images=[Picture.new("RGB", (4, 4), "red")])
    assert sniff(SVG) == pictures.SVG
    assert sniff(b"\xef\xbb\xbf" + SVG) == pictures.SVG
    assert sniff(HEIC) == pictures.HEIC
    assert sniff(frames.getvalue()) == pictures.PNG
    assert complete(pictures.HEIC, HEIC) is None
    assert complete(pictures.SVG, SVG) is None


PUBLIC = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd"'


@pytest.mark.parametrize(
    "prologue",
    [
        b"",
        b"\n  ",
        b"<!-- a > b --><!---->\n<?xml-stylesheet href='a.css'?>",
        b"<?xml version='1.0'?>\n" + PUBLIC + b">\n",
        b"<?xml version='1.0'?><!-- by a drawing program -->" + PUBLIC + b' [\n<!ENTITY ns "http://a/">\n] >\n',
        b"<!DOCTYPE svg>",
        b"<!DOCTYPE svg[<!ENTITY a 'b'>]><!-- then -->",
    ],
)
def test_what_drawing_programs_write_before_the_svg_is_read_past(prologue):
    """Declarations, comments and a document type with entities of its own do not hide the drawing."""
    assert sniff(prologue + b"<svg/>") == pictures.SVG
    assert sniff(prologue + b"<html>") is None


@pytest.mark.parametrize(
    "hostile", [b"<!---->", b"<!---->\n", b"<!--", b"<??> ", b"<!DOCTYPE svg[ ]", b"<!DOCTYPE svg> ", b"\n", b"{ "]
)
def test_no_first_bytes_keep_the_reader_busy(hostile):
    """The time to recognise a file grows with its head, not with the number of ways to divide it."""
    started = time.process_time()
    assert sniff((hostile * pictures.HEAD)[: pictures.HEAD] + b"<html>") is None
    assert time.process_time() - started < 1


@pytest.mark.parametrize("name", ENDED)
def test_every_cut_shows(name):
    """Wherever a picture with a telling end is cut, it is seen."""
    whole = picture(name)
    for end in range(16, len(whole)):
        assert complete(KINDS[name], whole[:end]), f"cut at {end} of {len(whole)} went unseen"


def test_every_cut_of_boxes_shows():
    """HEIC is cut wherever its last box is not whole."""
    assert all(complete(pictures.HEIC, HEIC[:end]) for end in range(24, len(HEIC)))
    assert complete(pictures.SVG, b"<svg ") == "no closing tag"


@pytest.mark.parametrize("name", ENDED)
def test_bytes_after_the_end_pass(name):
    """Cameras and editors append to pictures; that is no damage."""
    for tail in (b"\0" * 40, b"\xff\xfe\xfd" * 30):
        assert complete(KINDS[name], picture(name) + tail) is None


def test_a_thumbnails_end_is_not_the_pictures():
    """A JPEG that is cut right behind the thumbnail in its EXIF ends with an end marker, and is cut."""
    whole = picture("JPEG")
    thumbnail = b"Exif\0\0" + picture("JPEG", edge=8)
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2) + thumbnail
    for at in (2, 20):  # before and behind the JFIF segment
        with_thumbnail = whole[:at] + segment + whole[at:]
        assert complete(pictures.JPEG, with_thumbnail) is None
        assert complete(pictures.JPEG, with_thumbnail[: at + len(segment)])
        assert complete(pictures.JPEG, with_thumbnail[: len(whole) // 2 + len(segment)])


def test_a_progressive_jpeg_is_walked_scan_by_scan():
    """With bytes after its end, a JPEG of many scans is followed to the real end marker."""
    file = io.BytesIO()
    Picture.effect_noise((64, 64), 60).save(file, "JPEG", progressive=True)
    assert complete(pictures.JPEG, file.getvalue() + b"tail") is None
    assert complete(pictures.JPEG, file.getvalue()[:-2] + b"tail")


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><html><body>Sign in</body></html>",
        b'\n {"error": "not yours", "code": "FORBIDDEN"}',
        b"[]",
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        b"Service Unavailable",
        "Später bitte".encode(),
        b"\xff\xfe<\0h\0t\0m\0l\0>\0",
        b"<html>caf\xe9</html>",
        b"BM is how this sentence begins",
    ],
)
@pytest.mark.parametrize("declared", [None, "image/png", "application/octet-stream", "image/x-new"])
def test_text_is_not_a_picture(body, declared):
    """An error page is not kept as a picture, whatever its header says."""
    assert is_text(body)
    with pytest.raises(Damaged, match="not a picture"):
        judge(declared, body)


def test_a_letter_cut_by_the_end_of_the_head_is_still_text():
    """The head may end inside a letter of several bytes."""
    assert is_text(("a" + "é" * 5000).encode()[: pictures.HEAD])


@pytest.mark.parametrize(
    "declared", ["image/png", "image/jpeg; charset=x", "IMAGE/WEBP", "text/html", "application/json"]
)
def test_a_promise_that_the_bytes_break(declared):
    """Bytes of no known kind are damage where a kind that we know, or a text, was declared."""
    with pytest.raises(Damaged, match="not a picture"):
        judge(declared, b"\x00\x01\x02\x03 nobody knows")


@pytest.mark.parametrize("declared", [None, "application/octet-stream", "image/x-future"])
def test_the_unknown_is_kept(declared):
    """A format newer than this program is kept as it is."""
    assert judge(declared, b"\x00\x01\x02\x03 nobody knows") == pictures.UNKNOWN


def test_bytes_beat_the_declared_type():
    """A WebP that is declared as PNG is a WebP."""
    assert judge("image/png", picture("WEBP")) == pictures.WEBP


@given(st.binary(min_size=1, max_size=300))
def test_no_bytes_upset_the_judge(data):
    """Whatever arrives gets a verdict, not a crash."""
    sniff(data)
    for kind in (*KINDS.values(), pictures.HEIC, pictures.SVG):
        complete(kind, data)
