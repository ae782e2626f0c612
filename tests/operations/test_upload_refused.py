"""Uploads that are refused, by us or by the service: the reason, what to do, and that the others go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from uploading import parcel, picture, remote, run, states

from syncer.inbox.drop import drop_of
from syncer.model import Workspace
from syncer.operations.parcels import Kind, Parcel
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"Dear diary,\n", "not a picture: its bytes are text"),
        (b"\0\1\2\3" * 20, "not a picture: its bytes are of no known kind"),
        (picture("a")[:-20], "the picture is cut off"),
        (b"", "empty"),
    ],
)
async def test_what_is_no_picture_is_refused(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, content: bytes, reason: str
):
    """With a reason and a hint, without a request or a row; the others are not held up."""
    ran = await run(
        settings, parcel(tmp_path, "a.png", content, shelf), parcel(tmp_path, "good.png", picture("g"), shelf)
    )

    bad = next(one for one in ran.result.delivered if one.parcel.source == "a.png")
    assert (bad.kind, bad.upload) == (Kind.REFUSED, None)
    assert bad.reason.startswith(reason)
    assert bad.hint
    assert ran.kinds == {"refused": 1, "uploaded": 1}
    assert ran.result.exit_code == 3
    assert states(settings) == {"good.png": "done"}


@pytest.mark.parametrize(
    ("content", "most", "hint"),
    [(b"", 9, "copy it anew"), (picture("a"), 9, "raise limits.upload_bytes"), (picture("a")[:-20], 9999, "copy it")],
)
async def test_what_is_refused_says_what_to_do(
    settings: Settings, shelf: str, tmp_path: Path, content: bytes, most: int, hint: str
):
    """What would help with this very file."""
    path = tmp_path / "a.png"
    path.write_bytes(content)

    ran = await run(settings, Parcel(Workspace(shelf), "a.png", drop_of(path, most=most)))

    assert ran.only.hint.startswith(hint)


async def test_an_address_that_is_refused_says_what_to_do(sim: Simulator, settings: Settings, shelf: str):
    """Nobody has a file to save anew."""
    sim.faults.on("upload", faults.status(422))

    ran = await run(settings, remote("https://example.com/a.bmp", shelf))

    assert (ran.only.kind, "address" in ran.only.hint) == (Kind.REFUSED, True)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_what_the_service_refuses_is_refused(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path, status: int
):
    """In the service's words, and not for ever: a later drop tries anew."""
    sim.faults.on("upload", faults.status(status, error="Too many colours"), times=1)
    first = await run(settings, parcel(tmp_path, "a.png", picture("a"), shelf))

    second = await run(settings, parcel(tmp_path, "a.png", picture("a"), shelf))

    assert first.only.kind is Kind.REFUSED
    assert "Too many colours" in first.only.reason
    assert first.only.hint
    assert (first.result.exit_code, first.result.errors) == (3, [])
    assert second.only.kind is Kind.UPLOADED
    assert sim.counts["upload"] == 2


@pytest.mark.parametrize("action", [*map(faults.status, (403, 404, 405, 407)), faults.redirect("http://127.0.0.1:9/")])
async def test_what_the_workspace_refuses_is_told_once(
    sim: Simulator, configured: Callable[..., Settings], shelf: str, tmp_path: Path, action: faults.Action
):
    """The files are not to blame: they wait, and none of them is sent."""
    settings = configured(limits={"uploads": 1})
    sim.faults.on("upload", action)

    ran = await run(settings, *(parcel(tmp_path, f"{n}.png", picture(n), shelf) for n in range(3)))

    assert ran.kinds == {"pending": 3}
    assert (len(ran.result.errors), ran.result.exit_code) == (1, 3)
    assert sim.counts["upload"] == 1
    assert set(states(settings).values()) == {"unsent"}
