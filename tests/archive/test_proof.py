"""`prove`: what was promised of a body is held against it, and the service's own hash against the look at its end."""

from __future__ import annotations

import hashlib

import google_crc32c
import pytest
from archive_parts import content, image, picture
from PIL import features

from syncer.archive.proof import prove
from syncer.errors import Damaged

KINDS = ["PNG", "JPEG", "WEBP", *(["AVIF"] if features.check("avif") else [])]
HASHES = {
    "md5": lambda data: hashlib.md5(data).digest(),
    "crc32c": lambda data: google_crc32c.value(data).to_bytes(4, "big"),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}


@pytest.mark.parametrize("algorithm", HASHES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_the_service_has_cut_is_kept_as_it_is(kind, algorithm):
    """The service's own hash agrees with every byte: there is no more of it to be had, and the note says so."""
    cut = picture(kind)[:-30]

    proof = prove(cut, image(), content(cut, digests={algorithm: HASHES[algorithm](cut)}))

    assert (proof.sha256, proof.size) == (hashlib.sha256(cut).hexdigest(), len(cut))
    (note,) = proof.notes
    assert "ends early" in note
    assert note.endswith(f"by its own {algorithm}")


@pytest.mark.parametrize("digests", [{}, {"sha3": b"?"}], ids=["none", "one that is not known"])
@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_without_a_hash_a_cut_picture_is_refused(kind, digests, length):
    """A length alone proves nothing: a proxy that lost the end counts what it has. Nor does a hash we cannot make."""
    cut = picture(kind)[:-30]

    with pytest.raises(Damaged, match="cut off"):
        prove(cut, image(), content(cut, length=len(cut) if length else None, digests=digests))


def test_one_hash_that_agrees_does_not_outweigh_one_that_does_not():
    """All that is stated has to hold."""
    cut = picture()[:-30]
    digests = {"crc32c": HASHES["crc32c"](cut), "md5": HASHES["md5"](picture())}

    with pytest.raises(Damaged, match="another md5"):
        prove(cut, image(), content(cut, digests=digests))


def test_a_hash_does_not_make_a_page_a_picture():
    """What is no picture is refused with its hash as without it."""
    page = b"<html>Sign in</html>"

    with pytest.raises(Damaged, match="not a picture"):
        prove(page, image(), content(page, digests={"md5": HASHES["md5"](page)}))


def test_a_whole_picture_needs_no_note():
    """A hash that agrees with a picture that ends says nothing that an auditor would wonder about."""
    whole = picture()

    assert prove(whole, image(), content(whole, digests={"md5": HASHES["md5"](whole)})).notes == ()
