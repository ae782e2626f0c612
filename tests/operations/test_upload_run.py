"""One run of uploads: each row of what may become of a parcel, over real sockets, files and a real manifest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support import back_up, rows
from uploading import carried_out, events, opened, parcel, picture, remote, row, run, sha256, states

from syncer.errors import Unauthorized
from syncer.inbox.disposal import After
from syncer.inbox.inbox import Inbox
from syncer.model import Workspace
from syncer.operations import upload_one
from syncer.operations.parcels import Delivered, Kind, Parcel, Uploads, UploadsBegan, UploadSending
from syncer.operations.upload import dry_run, upload
from syncer.settings import Settings
from syncer.simulator import faults, uploads
from syncer.simulator.server import Simulator


async def test_a_picture_is_uploaded_and_proven(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """Each step is told to the journal before the next, the workspace before all of them."""
    ran = await run(settings, parcel(tmp_path, "a.png", picture("a"), shelf))

    assert ran.only.kind is Kind.UPLOADED
    assert (ran.result.complete, ran.result.exit_code) == (True, 0)
    assert ran.result.counts == {
        "uploaded": 1, "already": 0, "refused": 0, "pending": 0, "undecided": 0, "bytes": len(picture("a"))
    }  # fmt: skip
    assert events(settings) == [
        "archive.made", "workspace.seen", "upload.intended", "upload.uploaded", "upload.done"
    ]  # fmt: skip
    kept = row(settings)
    assert (kept["sha256"], kept["served_sha256"]) == (sha256(picture("a")),) * 2
    assert kept["image_id"] == sim.uploads[0].image
    assert [type(event) for event in ran.events] == [UploadsBegan, UploadSending, Delivered]


async def test_the_same_content_is_not_sent_twice(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """However often and under whatever name."""
    await run(settings, parcel(tmp_path, "a.png", picture("a"), shelf))

    ran = await run(settings, parcel(tmp_path, "another name.png", picture("a"), shelf))

    assert ran.only.kind is Kind.ALREADY
    assert ran.only.upload.image_id == sim.uploads[0].image
    assert ran.result.exit_code == 0
    assert carried_out(sim) == {sha256(picture("a")): 1}


async def test_three_names_at_once_are_one_upload(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """The second and the third wait for the first, and find what it left."""
    ran = await run(settings, *(parcel(tmp_path, f"{n}.png", picture("a"), shelf) for n in range(3)))

    assert ran.kinds == {"uploaded": 1, "already": 2}
    assert carried_out(sim) == {sha256(picture("a")): 1}


async def test_a_content_of_two_workspaces_is_uploaded_to_both(sim: Simulator, settings: Settings, tmp_path: Path):
    """They are two uploads."""
    first, second, *_ = sim.workspaces

    ran = await run(settings, *(parcel(tmp_path, "a.png", picture("a"), shelf) for shelf in (first, second)))

    assert ran.kinds == {"uploaded": 2}
    assert {uploaded.workspace for uploaded in sim.uploads} == {first, second}


async def test_what_is_in_the_archive_is_uploaded_all_the_same(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path
):
    """An image of those bytes that came another way has its own prompt and maker: it is not the one asked for."""
    await back_up(settings)
    content = sim.workspaces[shelf][sim.workspaces[shelf].ids[0]].body

    ran = await run(settings, parcel(tmp_path, "a.png", content, shelf))

    assert ran.only.kind is Kind.UPLOADED
    assert carried_out(sim) == {sha256(content): 1}


async def test_a_file_that_changed_is_left_for_another_round(settings: Settings, shelf: str, tmp_path: Path):
    """It is not the file that was found complete."""
    given = parcel(tmp_path, "a.png", picture("a"), shelf)
    (tmp_path / "a.png").write_bytes(picture("longer", size=(99, 99)))

    ran = await run(settings, given)

    assert ran.only.kind is Kind.PENDING
    assert ran.result.exit_code == 3
    assert not rows(settings.archive.path, "uploads")


async def test_a_quota_pauses_its_workspace_alone(sim: Simulator, configured: Callable[..., Settings], tmp_path: Path):
    """Nothing more is sent there, what is there already is still known, and the other workspace goes on."""
    settings = configured(limits={"uploads": 1})
    first, second, *_ = sim.workspaces
    await run(settings, parcel(tmp_path, "old.png", picture("old"), first))
    sim.faults.on("upload", uploads.quota(), workspace=first)
    parcels = [parcel(tmp_path, f"{n}.png", picture(n), first) for n in range(5)]

    ran = await run(
        settings,
        *parcels,
        parcel(tmp_path, "old.png", picture("old"), first),
        parcel(tmp_path, "other.png", picture("other"), second),
    )

    assert ran.kinds == {"pending": 5, "already": 1, "uploaded": 1}
    assert list(ran.result.paused) == [first]
    assert "quota" in ran.result.paused[first]
    assert (ran.result.exit_code, ran.result.errors) == (3, [])
    assert sim.counts["upload"] == 3  # the old one, one that met the quota, the other workspace's
    sim.faults.clear()
    assert (await run(settings, *parcels)).kinds == {"uploaded": 5}


async def test_a_service_that_is_away_leaves_all_pending(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path
):
    """Surely not carried out: exit 8, and the next run sends."""
    sim.faults.on("upload", faults.status(429))
    given = [parcel(tmp_path, f"{n}.png", picture(n), shelf) for n in range(3)]

    ran = await run(settings, *given)

    assert ran.kinds == {"pending": 3}
    assert (len(ran.result.errors), ran.result.exit_code) == (1, 8)
    assert set(states(settings).values()) == {"unsent"}
    sim.faults.clear()
    assert (await run(settings, *given)).kinds == {"uploaded": 3}
    assert set(carried_out(sim).values()) == {1}


async def test_a_service_that_stays_away_costs_few_tries(
    sim: Simulator, configured: Callable[..., Settings], shelf: str, tmp_path: Path
):
    """However many files wait, they are not tried one after the other, and the journal does not grow by them."""
    settings = configured(limits={"retries": 0, "uploads": 1})
    sim.faults.on("upload", faults.status(429))
    given = [parcel(tmp_path, f"{n}.png", picture(n), shelf) for n in range(20)]

    ran = await run(settings, *given)

    assert (ran.kinds, ran.result.exit_code) == ({"pending": 20}, 8)
    assert sim.counts["upload"] == len(states(settings)) < 10
    assert all(one.reason for one in ran.result.delivered)
    sim.faults.clear()
    assert (await run(settings, *given)).kinds == {"uploaded": 20}


async def test_refused_credentials_end_the_run(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """Nothing was carried out, and so it is remembered."""
    sim.faults.on("upload", faults.status(401))

    with pytest.raises(Unauthorized):
        await run(settings, parcel(tmp_path, "a.png", picture("a"), shelf))

    assert states(settings) == {"a.png": "unsent"}


# --- inbox --------------------------------------------------------------------------------------------


async def test_the_inbox_is_told(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """What is proven moves to `done`, what is refused to `failed` beside its reason; what is pending stays."""
    folder = tmp_path / "drop"
    folder.mkdir()
    for name, content in (("a.png", picture("a")), ("b.png", picture("b")), ("t.png", b"text\n")):
        (folder / name).write_bytes(content)
    pending = sha256(picture("b"))
    sim.faults.on("content", faults.status(503), when=lambda request: _is(sim, request.match_info["image"], pending))
    complete = asyncio.Event()
    async with Inbox.open(folder, settle=0.01, after=After.MOVE, most=1 << 20, ready=complete.set) as inbox:
        drops = []
        while len(drops) < 3:
            await complete.wait()
            complete.clear()
            drops += inbox.take()
        ran = await run(settings, *(Parcel(Workspace(shelf), drop.name, drop, inbox=inbox) for drop in drops))

        assert ran.kinds == {"uploaded": 1, "refused": 1, "pending": 1}
        assert [drop.name for drop in inbox.take()] == ["b.png"]
    (day,) = (folder / ".syncer/done").iterdir()
    assert (day / "a.png").read_bytes() == picture("a")
    assert (folder / ".syncer/failed/t.png").exists()
    assert "text" in json.loads((folder / ".syncer/failed/t.png.json").read_text())["reason"]
    assert (folder / "b.png").exists()


async def test_a_run_that_is_stopped_gives_back_what_it_took(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path
):
    """The inbox offers it again."""
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture("a"))
    complete = asyncio.Event()
    async with (
        Inbox.open(folder, settle=0.01, after=After.MOVE, most=1 << 20, ready=complete.set) as inbox,
        opened(settings) as rooms,
    ):
        await complete.wait()
        (drop,) = inbox.take()
        given = Parcel(Workspace(shelf), drop.name, drop, inbox=inbox)
        task = asyncio.create_task(upload(rooms, [given], lambda _: task.cancel(), Uploads()))
        with pytest.raises(asyncio.CancelledError):
            await task

        assert inbox.take() == [drop]


def _is(sim: Simulator, image: str, wanted: str) -> bool:
    return any((uploaded.image, uploaded.sha256) == (image, wanted) for uploaded in sim.uploads)


# --- addresses, again, dry ----------------------------------------------------------------------------


async def test_an_address_is_fetched_by_the_service(sim: Simulator, settings: Settings, shelf: str):
    """Its query, which may be a signature, is neither kept nor told; its content is sent once."""
    other = sim.workspaces[shelf].ids[0]
    address = sim.signed_url(shelf, other)

    first = await run(settings, remote(address, shelf))
    second = await run(settings, remote(address, shelf))

    assert (first.only.kind, second.only.kind) == (Kind.UPLOADED, Kind.ALREADY)
    kept = row(settings)
    assert (kept["sha256"], kept["state"], kept["bytes"]) == (sha256(address), "done", None)
    assert kept["served_sha256"] == sha256(sim.workspaces[shelf][other].body)
    assert kept["source"] == address.partition("?")[0]
    for path in settings.archive.path.rglob("*"):
        assert not path.is_file() or b"X-Goog-Signature=" not in path.read_bytes()
    assert "Signature" not in repr(first)


async def test_again_sends_once_more(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """Also where it is there; once, however many names it has, and only when asked."""
    given = [parcel(tmp_path, f"{n}.png", picture("a"), shelf) for n in range(2)]
    await run(settings, *given)

    ran = await run(settings, *given, again=True)

    assert ran.kinds == {"uploaded": 1, "already": 1}
    assert len(sim.uploads) == 2
    assert row(settings)["image_id"] == sim.uploads[1].image
    assert (await run(settings, *given)).kinds == {"already": 2}


async def test_a_dry_run_sends_and_writes_nothing(sim: Simulator, settings: Settings, shelf: str, tmp_path: Path):
    """It says what would be sent, once for each content, and what is there."""
    await run(settings, parcel(tmp_path, "old.png", picture("old"), shelf))
    told, asked, result = events(settings), len(sim.requests), Uploads()
    parcels = [
        parcel(tmp_path, name, content, shelf)
        for name, content in (
            ("old.png", picture("old")),
            ("n.png", picture("n")),
            ("n2.png", picture("n")),
            ("t", b"text"),
        )
    ]

    async with opened(settings) as rooms:
        await dry_run(rooms, parcels, lambda _: None, result)

    assert [one.kind for one in result.delivered] == [Kind.ALREADY, Kind.UPLOADED, Kind.ALREADY, Kind.REFUSED]
    assert (events(settings), len(sim.requests), len(sim.uploads)) == (told, asked, 1)


@pytest.mark.parametrize(("held", "at_once"), [(64 << 20, 3), (6_000, 2), (1, 1)])
async def test_no_more_is_held_than_allowed(
    sim: Simulator,
    configured: Callable[..., Settings],
    shelf: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    held: int,
    at_once: int,
):
    """No more than limits.uploads are sent at one time, and fewer where their bytes are too many."""
    contents = [picture(n) for n in range(8)]
    assert all(2_000 < len(content) < 3_000 for content in contents)
    monkeypatch.setattr(upload_one, "HELD", held)
    settings = configured(limits={"uploads": 3, "upload_bytes": 3_000})
    sending, most, full = 0, 0, asyncio.Event()

    async def wait(request: object) -> None:
        nonlocal sending, most
        sending += 1
        most = max(most, sending)
        if sending == at_once:
            full.set()
        await full.wait()
        sending -= 1

    sim.faults.on("upload", faults.before(wait))

    ran = await run(settings, *(parcel(tmp_path, f"{n}.png", each, shelf) for n, each in enumerate(contents)))

    assert ran.kinds == {"uploaded": 8}
    assert most == at_once


async def test_what_was_finished_before_the_run_was_stopped_is_kept(
    sim: Simulator, configured: Callable[..., Settings], shelf: str, tmp_path: Path
):
    """And what was on its way is looked for by the next run."""
    settings = configured(limits={"uploads": 1})
    parcels = [parcel(tmp_path, f"{n}.png", picture(n), shelf) for n in range(3)]
    result = Uploads()

    def stop(event: object) -> None:
        if isinstance(event, UploadSending) and event.parcel is parcels[1]:
            task.cancel()

    async with opened(settings) as rooms:
        task = asyncio.create_task(upload(rooms, parcels, stop, result))
        with pytest.raises(asyncio.CancelledError):
            await task

    assert [one.parcel for one in result.delivered] == parcels[:1]
    assert states(settings) == {"0.png": "done", "1.png": "intended"}
    ran = await run(settings, *parcels)
    assert ran.kinds == {"uploaded": 2, "already": 1}
    assert set(carried_out(sim).values()) == {1}
