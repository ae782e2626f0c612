"""Pictures that are not what they should be: each costs itself, is named, and nothing else suffers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io

import google_crc32c
import pytest
from outside import Make, Outside
from PIL import Image
from support import pictures, rows

from syncer.simulator import faults
from syncer.simulator.server import Simulator


def drawn(kind: str) -> bytes:
    """A real picture of some kilobytes."""
    buffer = io.BytesIO()
    Image.effect_noise((96, 96), 80).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def hashes(content: bytes) -> str:
    """What an object store says about other bytes than it serves."""
    crc = base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    return f"crc32c={crc},md5={md5}"


JSON = b'{"error": "still rendering", "code": "NOT_READY"}'
SPOILED: dict[str, faults.Action] = {
    "always 500": faults.status(500),
    "403 for this alone": faults.status(403, machine="FORBIDDEN"),
    "html instead of a picture": faults.body(b"<!doctype html><html><body>Sign in</body></html>", "text/html"),
    "html that calls itself a picture": faults.body(b"<html><body>Sign in</body></html>", "image/png"),
    "json instead of a picture": faults.body(JSON, "application/json"),
    "json that calls itself a picture": faults.body(JSON, "image/jpeg"),
    "empty": faults.body(b"", "image/png"),
    "204": faults.body(b"", "image/png", code=204),
    "206": faults.body(drawn("PNG"), "image/png", code=206),
    "shorter than its length": faults.cut(),
    "longer than its length": faults.overlong(),
    "cut at the end of the connection": faults.until_close(0.6),
    "another md5": faults.headers({"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}),
    "another crc32c": faults.headers({"x-goog-hash": "crc32c=AAAAAA==", "Content-MD5": None}),
    "another md5 from the store": faults.headers({"x-goog-hash": hashes(b"other"), "Content-MD5": None}),
    "truncated png": faults.both(faults.headers({"Content-MD5": None}), faults.body(drawn("PNG")[:-30], "image/png")),
    "truncated jpeg": faults.body(drawn("JPEG")[:-30], "image/jpeg"),
    "truncated webp": faults.body(drawn("WEBP")[:-30], "image/webp"),
    "a video": faults.body(b"\x00\x00\x00\x18ftypmp42" + bytes(64), "text/plain"),
}


async def test_each_spoiled_picture_is_one_named_failure(sim: Simulator, shelf: str, outside: Outside):
    """Whatever a content answer is instead of a whole picture: it fails by name, and all others are kept."""
    sim.workspaces[shelf].add_many(20)
    ids = sim.workspaces[shelf].ids
    spoiled = dict(zip(ids, SPOILED, strict=False))
    for image, name in spoiled.items():
        sim.faults.on("content", SPOILED[name], image=image)

    ran = await outside.backup()

    assert ran.code == 3
    assert {spoiled.get(image) for image in ran.failures} == set(SPOILED)
    assert ran.counts == {"new": len(ids) - len(SPOILED), "failed": len(SPOILED)}
    assert all(reason and len(reason) < 400 for reason in ran.failures.values())
    assert set(outside.images()) == set(ids) - set(spoiled)
    assert set(pictures(outside.archive).values()) == {
        sim.workspaces[shelf][image].body for image in ids if image not in spoiled
    }
    owed = {row["image_id"]: row["attempts"] for row in rows(outside.archive, "failures")}
    assert owed == dict.fromkeys(spoiled, 1)

    status = await outside("status", "--json")
    assert status.summary["owed"] == len(SPOILED)
    assert not status.summary["complete"]

    sim.faults.clear()
    ran = await outside.backup()
    assert (ran.code, ran.counts) == (0, {"new": len(SPOILED), "unchanged": len(ids) - len(SPOILED)})
    assert rows(outside.archive, "failures") == []


async def test_a_picture_that_the_service_itself_has_cut_is_kept(sim: Simulator, shelf: str, outside: Outside):
    """Its own hash agrees with all that came, from the service or its store: kept and noted; without a hash, owed."""
    by_md5, by_store, unproven = sim.workspaces[shelf].ids[:3]
    cut = {image: drawn(kind)[:-30] for image, kind in ((by_md5, "JPEG"), (by_store, "PNG"), (unproven, "WEBP"))}
    for image, content in cut.items():
        sim.workspaces[shelf].replace_bytes(image, content)
    sim.faults.on("content", faults.redirect(sim.to_store), image=by_store)
    sim.faults.on("content", faults.headers({"Content-MD5": None}), image=unproven)

    ran = await outside.backup()

    assert (ran.code, set(ran.failures)) == (3, {unproven})
    assert "cut off" in ran.failures[unproven]
    files, images = pictures(outside.archive), outside.images()
    assert [files[images[image]["path"]] for image in (by_md5, by_store)] == [cut[by_md5], cut[by_store]]
    noted = {line["image"]: line["notes"] for line in ran.lines if line.get("notes")}
    assert noted.keys() == {by_md5, by_store}
    assert all("ends early" in notes[0] for notes in noted.values())

    sim.faults.clear()
    assert (await outside.backup()).code == 0
    assert (await outside("verify")).code == 0


async def test_a_picture_above_the_limit_is_refused_by_name(sim: Simulator, shelf: str, make: Make):
    """Neither one that says how large it is nor one that only turns out to be is kept; the limit is in the reason."""
    outside = make(limits={"image_bytes": 200_000})
    honest, silent = sim.workspaces[shelf].ids[:2]
    large = io.BytesIO()
    Image.effect_noise((640, 480), 90).save(large, "PNG")
    for image in (honest, silent):
        sim.workspaces[shelf].replace_bytes(image, large.getvalue())
    sim.faults.on("content", faults.chunked(), image=silent)

    ran = await outside.backup()

    assert ran.code == 3
    assert set(ran.failures) == {honest, silent}
    assert all("larger" in reason and "200000" in reason for reason in ran.failures.values())
    assert not any((outside.archive / ".staging").glob("*.part"))


async def test_bodies_in_odd_but_honest_forms_are_kept(sim: Simulator, shelf: str, outside: Outside):
    """Chunked, closed at the end, gzipped without being asked, no type, a wrong type: the bytes are what counts."""
    ids = sim.workspaces[shelf].ids
    for image, action in zip(
        ids,
        (
            faults.chunked(),
            faults.until_close(),
            faults.gzip(),
            faults.headers({"Content-Type": None}),
            faults.headers({"Content-Type": "application/octet-stream"}),
            faults.headers({"Content-MD5": "not base64"}),
        ),
        strict=False,
    ):
        sim.faults.on("content", action, image=image)

    ran = await outside.backup()

    assert ran.code == 0, ran.failures
    files = pictures(outside.archive)
    for image, row in outside.images().items():
        assert files[row["path"]] == sim.workspaces[shelf][image].body


async def test_a_body_that_stalls_is_given_up_in_time(sim: Simulator, shelf: str, make: Make):
    """No byte for `stall_seconds` ends the attempt; the next run copies the picture."""
    outside = make(limits={"stall_seconds": 1})
    stalled = sim.workspaces[shelf].ids[3]
    for_ever = asyncio.Event()
    sim.faults.on("content", faults.stall(for_ever), image=stalled)

    ran = await outside.backup()
    for_ever.set()

    assert ran.code == 3
    assert set(ran.failures) == {stalled}
    assert "time" in ran.failures[stalled]
    assert ran.summary["seconds"] < 8


@pytest.mark.parametrize("always", [True, False], ids=["for ever", "once"])
async def test_a_failure_is_repeated_as_often_as_configured(sim: Simulator, shelf: str, make: Make, always: bool):
    """Tries after the first: `limits.retries`; one bad answer costs nothing but a repeat."""
    outside = make(limits={"retries": 1})
    image = sim.workspaces[shelf].ids[0]
    rule = sim.faults.on("content", faults.cut(), image=image, times=None if always else 1)

    ran = await outside.backup()

    assert (ran.code, rule.hits) == ((3, 2) if always else (0, 1))
