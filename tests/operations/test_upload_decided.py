"""A person's word on an upload that nobody else can decide: taken where it can be, and proven as far as can be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support import rows
from uploading import opened, parcel, picture, run, sha256

from syncer.errors import ConfigError
from syncer.model import UploadState
from syncer.operations.parcels import Kind
from syncer.operations.rooms import utc_now
from syncer.operations.upload import decide
from syncer.settings import Settings
from syncer.simulator import faults, uploads
from syncer.simulator.server import Simulator

A = picture("a")


@pytest.fixture
async def undecided(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path) -> str:
    """The hash of an upload that is undecided."""
    sim.faults.on("upload", faults.body(b"", "application/json", code=201), times=1)
    ran = await run(settings, parcel(tmp_path, "a.png", A, shelf))
    assert ran.only.kind is Kind.UNDECIDED
    return sha256(A)


async def test_a_person_says_that_it_never_arrived(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, undecided: str
):
    """Then the file may be sent."""
    async with opened(settings) as rooms:
        assert (await decide(rooms, shelf, undecided, None)).state == "unsent"

    assert (await run(settings, parcel(tmp_path, "a.png", A, shelf))).only.kind is Kind.UPLOADED


@pytest.mark.parametrize(("content", "state"), [(A, "done"), (uploads.as_jpeg(A), "reencoded")])
async def test_a_person_says_which_image_it_is(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, undecided: str, content: bytes, state: str
):
    """It is proven as far as can be, and never sent again."""
    image = sim.workspaces[shelf].add(content)

    async with opened(settings) as rooms:
        upload = await decide(rooms, shelf, undecided, image)

    assert (upload.state, upload.image_id, upload.served_sha256) == (state, image, sha256(content))
    assert (await run(settings, parcel(tmp_path, "a.png", A, shelf))).only.kind is Kind.ALREADY


async def test_a_word_that_cannot_be_taken(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, undecided: str
):
    """An unknown upload, an unknown image, one that came of another upload, and one that is settled."""
    other = await run(settings, parcel(tmp_path, "b.png", picture("b"), shelf))
    taken = other.only.upload.image_id

    async with opened(settings) as rooms:
        for hash_, image in (
            ("0" * 64, None),
            (undecided, "no-such"),
            (undecided, taken),
            (sha256(picture("b")), None),
        ):
            with pytest.raises(ConfigError):
                await decide(rooms, shelf, hash_, image)

    assert row_of(settings, undecided) == "undecided"


@pytest.mark.parametrize("state", [UploadState.INTENDED, UploadState.UNKNOWN, UploadState.UPLOADED])
async def test_what_may_still_be_found_out_is_not_lost_by_a_word(
    sim: Simulator, settings: Settings, shelf: str, undecided: str, state: UploadState
):
    """Sent again, it could be there twice. After a day of looking in vain, a person knows more."""
    async with opened(settings) as rooms:
        upload = await rooms.manifest.upload(shelf, undecided)
        assert upload is not None
        await rooms.manifest.record([replace(upload, state=state)])

        with pytest.raises(ConfigError) as raised:
            await decide(rooms, shelf, undecided, None)
        assert raised.value.hint
        assert row_of(settings, undecided) == state

        later = replace(rooms, now=lambda: utc_now() + timedelta(days=2))
        if state is UploadState.UPLOADED:
            with pytest.raises(ConfigError):
                await decide(later, shelf, undecided, None)
        else:
            assert (await decide(later, shelf, undecided, None)).state is UploadState.UNSENT


def row_of(settings: Settings, hash_: str) -> str:
    (found,) = rows(settings.archive.path, "uploads", f"sha256 = '{hash_}'")
    return str(found["state"])
