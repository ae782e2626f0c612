"""The invented year: the same for one seed, varied, true to its bytes."""

from __future__ import annotations

import io
import json
from collections import Counter
from datetime import UTC, datetime

from PIL import Image

from syncer.simulator.corpus import BRAND, SOCIAL, UPSCALER, Invented, invent
from syncer.simulator.pictures import LOOKS, Picture

UNTIL = datetime(2026, 11, 22, tzinfo=UTC)


def year(images: int = 200, seed: int = 1) -> list[Invented]:
    return list(invent(images, seed=seed, until=UNTIL))


def test_one_seed_one_year() -> None:
    """The same seed gives the same documents and bytes; another seed other ids."""
    assert year() == year()
    assert not {image.document["id"] for image in year()} & {image.document["id"] for image in year(seed=2)}


def test_as_many_as_asked_in_two_workspaces() -> None:
    """Any count is met exactly, and both workspaces get their part."""
    assert [len(year(count)) for count in (0, 1, 2, 7, 200)] == [0, 1, 2, 7, 200]
    shares = Counter(image.workspace for image in year())
    assert shares.keys() == {BRAND, SOCIAL}
    assert min(shares.values()) > 40


def test_the_documented_variety_is_there() -> None:
    """Groups of one to four, upscales without a prompt in every shape, big seeds, several creators and models."""
    documents = [image.document for image in year()]
    upscales = [document for document in documents if document["model"] == UPSCALER]
    groups = Counter(document["generationId"] for document in documents)

    assert set(groups.values()) == {1, 2, 3, 4}
    assert {type(document["inputImageIds"]) for document in upscales} == {list, dict, type(None)}
    assert {document["prompt"] for document in upscales} == {""}
    assert all(document["prompt"] for document in documents if document not in upscales)
    assert any(document["parameters"].get("seed", 0) > 2**64 for document in documents)
    assert len({document["createdByUserId"] for document in documents}) == 4
    assert len({document["model"] for document in documents}) == 5


def test_an_upscale_names_an_earlier_image_of_its_workspace() -> None:
    """What an upscale was made from is there."""
    seen: dict[str, str] = {}
    for image in year():
        parents = image.document["inputImageIds"] or []
        for parent in parents.values() if isinstance(parents, dict) else parents:
            assert seen[parent] == image.workspace
        seen[image.document["id"]] = image.workspace


def test_the_year_runs_forward_and_ends_in_time() -> None:
    """Images are invented oldest first, within the year before the end, and survive JSON."""
    made = [image.document["createdAt"] for image in year()]

    assert made == sorted(made)
    assert made[0] >= "2025-11-22"
    assert made[-1] < "2026-11-22"
    assert json.loads(json.dumps([image.document for image in year()])) == [image.document for image in year()]


def test_every_look_is_a_picture_that_keeps_its_word() -> None:
    """Each look decodes, is as large as it says in pixels and bytes, and is neither flat nor huge."""
    for look in range(LOOKS):
        picture = Picture(look, "a note")
        content = picture.render()
        with Image.open(io.BytesIO(content)) as decoded:
            decoded.load()
            assert (decoded.size, f"image/{str(decoded.format).lower()}") == (picture.dimensions, picture.media_type)
            assert len(decoded.convert("RGB").resize((64, 64)).getcolors(4096) or ()) > 100
        assert len(content) == picture.size
        assert 8_000 < len(content) < 300_000


def test_no_two_notes_give_the_same_bytes() -> None:
    """Pictures of one look differ in their bytes, by the note alone, and a note gives the same bytes again."""
    for look in range(3):
        made = [Picture(look, note).render() for note in ("one", "two", "one")]
        assert made[0] == made[2] != made[1]
        assert len(made[0]) == len(made[1])
