"""The way up, as its users see it: the installed command, the folders, and the service as the ledger of what came.

What the parts do has its own tests, and `test_upload_kills` strikes at every step of one upload.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import shlex
import signal
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
from aiohttp import web
from daemon_outside import LISTEN, ONCE, Daemon, daemon
from outside import Make, Outside
from PIL import Image
from stranger import SECRET, SIGNATURE, Piece, Stranger
from support import rows

from syncer.simulator import faults
from syncer.simulator.server import Simulator
from syncer.simulator.uploads import answered_after, as_jpeg, as_png, carried_out_but

pytestmark = pytest.mark.slow  # a process is started for each: over a second

DONE, FAILED = Path(".syncer/done"), Path(".syncer/failed")
SECONDS = 30  # for whatever has to happen; none of it comes near that


def picture(number: int) -> bytes:
    """A picture that looks like no other."""
    buffer = io.BytesIO()
    Image.frombytes("RGB", (12, 8), random.Random(number).randbytes(288)).resize((96, 64)).save(buffer, "PNG")
    return buffer.getvalue()


def drawn(path: Path, number: int = 1) -> Path:
    path.write_bytes(picture(number))
    return path


def watching(outside: Outside, settle: float = 0.1, **keys: str) -> Path:
    """Give the last workspace a folder to watch."""
    folder = outside.config.parent / "drop"
    folder.mkdir()
    lines = [f"watch = {json.dumps(str(folder))}", f"watch_settle = {settle}"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    outside.config.write_text("\n".join([outside.config.read_text(), *lines, ""]))
    return folder


class Halt:
    """A place at which a request, all of which has come, waits until it is `over`."""

    def __init__(self) -> None:
        self.reached, self.over = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: web.Request) -> None:
        await request.read()
        self.reached.set()
        await self.over.wait()


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by their name alone."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def once(make: Make) -> Outside:
    """A configuration for one full pass at the start, and nothing more by itself."""
    return make(schedule=ONCE, daemon=LISTEN)


# --- by hand ------------------------------------------------------------------------------------------


async def test_files_are_brought_up_once_and_come_down_again(
    sim: Simulator, shelf: str, outside: Outside, tmp_path: Path
):
    """A line for each, a summary that adds up, exit codes; and `show` tells the file that an image was made of."""
    kite, text = drawn(tmp_path / "kite.png"), tmp_path / "notes.png"
    text.write_text("only words")

    first = await outside("upload", "--json", kite, drawn(tmp_path / "boat.png", 2))
    again = await outside("upload", "--json", kite, text, "--workspace", shelf)
    missing = await outside("upload", "--json", tmp_path / "nothing.png")

    assert (first.code, again.code, missing.code) == (0, 3, 2)
    assert [line["outcome"] for line in first.lines[:-1]] == ["uploaded", "uploaded"]
    assert (first.summary["command"], first.summary["uploaded"], first.summary["complete"]) == ("upload", 2, True)
    assert first.summary["bytes"] == sum(line["bytes"] for line in first.lines[:-1]) == len(picture(1) + picture(2))
    told = {line["source"]: line for line in again.lines[:-1]}
    assert (told[str(kite)]["outcome"], told[str(text)]["outcome"]) == ("already", "refused")
    assert told[str(text)]["reason"]
    assert told[str(text)]["hint"]
    assert (again.summary["already"], again.summary["refused"], again.summary["complete"]) == (1, 1, False)
    for finished in (first, again, missing):
        assert finished.summary["exit_code"] == finished.code
        assert bool(finished.summary["why"]) == (finished.code != 0)
    assert sorted(one.sha256 for one in sim.uploads) == sorted(sha256(picture(n)).hexdigest() for n in (1, 2))

    assert (await outside.backup()).code == 0
    image = told[str(kite)]["image"]
    assert outside.images()[image]["sha256"] == sha256(picture(1)).hexdigest()
    shown = await outside("show", image)
    assert f"uploaded from  {kite}, sha256 {sha256(picture(1)).hexdigest()}" in shown.out


async def test_the_printed_commands_settle_what_is_undecided(
    sim: Simulator, shelf: str, outside: Outside, tmp_path: Path
):
    """As `status` prints them: the one with the image's id, or the one that says it never arrived."""
    twin = tmp_path / "twin.png"
    twin.write_bytes(as_png(picture(1)))  # the same pixels in other bytes: nobody can tell which is which
    sim.workspaces[shelf].recode = as_jpeg
    sim.faults.on("upload", carried_out_but(faults.status(502)), times=2)
    ran = await outside("upload", "--json", drawn(tmp_path / "kite.png"), twin)
    assert (ran.code, ran.summary["undecided"]) == (3, 2)
    told = await outside("status")
    ways = [shlex.split(line.partition(":  ")[2]) for line in told.out.splitlines() if "→" in line]
    assert len(ways) == 4

    assert all(way[-2:] == ["--config", str(outside.config)] for way in ways)

    images = {one.sha256: one.image for one in sim.uploads}
    arrived, lost = ways[0][:-2], ways[3][:-2]  # `outside` says that itself
    assert arrived[:4] == ["syncer", "upload", "--arrived", "IMAGE"]
    assert (await outside("upload", "--arrived", images[arrived[4]], *arrived[4:])).code == 0
    assert lost[:3] == ["syncer", "upload", "--lost"]
    assert (await outside(*lost[1:])).code == 0

    states = {row["sha256"]: row["state"] for row in rows(outside.archive, "uploads")}
    assert states == {arrived[4]: "reencoded", lost[3]: "unsent"}


async def test_stopped_in_the_middle_it_says_so_and_goes_on_from_there(
    sim: Simulator, outside: Outside, tmp_path: Path
):
    """Ctrl-C while an answer is waited for: exit 130, and the next run finds the image instead of sending again."""
    halt = Halt()
    sim.faults.on("upload", answered_after(halt), times=1)
    file = drawn(tmp_path / "kite.png")
    async with outside.started("upload", "--json", file) as process:
        await asyncio.wait_for(halt.reached.wait(), SECONDS)
        process.send_signal(signal.SIGINT)
        stopped = await outside.end(process)
    halt.over.set()

    ended = await outside("upload", "--json", file)

    assert (stopped.code, stopped.summary["complete"], bool(stopped.summary["why"])) == (130, False, True)
    assert (ended.code, len(sim.uploads)) == (0, 1)
    assert ended.lines[0]["image"] == sim.uploads[0].image


# --- the daemon ---------------------------------------------------------------------------------------


async def test_the_daemon_uploads_what_is_dropped(sim: Simulator, once: Outside):
    """Good ones go to done/, what is no picture to failed/ beside its reason, and the next pass brings them down."""
    folder = watching(once)
    async with daemon(once) as running:
        await running.passed()
        (folder / "new").mkdir()
        drawn(folder / "new" / "kite.png")
        drawn(folder / "kite again.png")
        (folder / "notes.png").write_text("only words")
        (folder / ".hidden.png").write_bytes(picture(2))
        (folder / "unfinished.png.part").write_bytes(picture(3))
        await running.logged("upload.refused", source="notes.png")
        await moved(running, folder, "kite.png", "kite again.png")
        await running.again()

    assert [one.sha256 for one in sim.uploads] == [sha256(picture(1)).hexdigest()]
    assert set(files(folder / FAILED)) == {"notes.png", "notes.png.json"}
    note = json.loads(files(folder / FAILED)["notes.png.json"])
    assert note["file"] == "notes.png"
    assert note["reason"]
    assert note["hint"]
    assert {".hidden.png", "unfinished.png.part"} < set(files(folder))
    assert sim.uploads[0].image in once.images()
    assert not running.lines("daemon.degraded")


async def test_watch_uploads_and_makes_no_backup(sim: Simulator, once: Outside):
    """What lay there before, what is moved in, what a slow writer has closed; it takes orders as the daemon does."""
    folder = watching(once, watch_after="delete")
    drawn(folder / "before.png")
    async with daemon(once, command="watch") as running:
        await running.ready()
        drawn(once.config.parent / "elsewhere.png", 2).rename(folder / "moved.png")
        with (folder / "slow.png").open("wb") as slow:
            slow.write(picture(3)[:100])
            slow.flush()
            await running.log.many(2, lambda line: line.get("event") == "upload.proven")
            slow.write(picture(3)[100:])
        await running.log.many(3, lambda line: line.get("event") == "upload.proven")
        told = await running.triggered("--uploads", "--wait")
        status = await once("status", "--json")

    assert sorted(one.sha256 for one in sim.uploads) == sorted(sha256(picture(n)).hexdigest() for n in (1, 2, 3))
    assert not running.lines("upload.refused")
    assert files(folder) == {}
    assert (told.code, once.images()) == (0, {})
    assert status.summary["daemon"]["command"] == "watch"


@pytest.mark.parametrize("carried_out", ["before", "after"])
async def test_killed_while_it_sends_it_uploads_once(sim: Simulator, once: Outside, carried_out: str):
    """Whether the service carries it out before the kill, or only after it: the next life finds the one image."""
    folder = watching(once)
    drawn(folder / "kite.png")
    halt = Halt()
    sim.faults.on("upload", answered_after(halt) if carried_out == "before" else faults.before(halt), times=1)
    async with daemon(once, command="watch") as killed:
        await asyncio.wait_for(halt.reached.wait(), SECONDS)
        killed.process.kill()
        await killed.end(killed=True)
    halt.over.set()

    async with daemon(once, command="watch") as running:
        await moved(running, folder, "kite.png")

    assert [one.sha256 for one in sim.uploads] == [sha256(picture(1)).hexdigest()]
    assert [(row["state"], row["image_id"]) for row in rows(once.archive, "uploads")] == [
        ("done", sim.uploads[0].image)
    ]


async def test_sigterm_while_it_sends_is_obeyed_within_ten_seconds(sim: Simulator, once: Outside):
    """The file stays where it is, and the next life finds the one image."""
    folder = watching(once)
    drawn(folder / "kite.png")
    halt = Halt()
    sim.faults.on("upload", answered_after(halt), times=1)
    async with daemon(once, command="watch") as running:
        await asyncio.wait_for(halt.reached.wait(), SECONDS)
        assert (await running.stop()).code == 143
    assert set(files(folder)) == {"kite.png"}
    halt.over.set()

    async with daemon(once, command="watch") as running:
        await moved(running, folder, "kite.png")

    assert len(sim.uploads) == 1


async def moved(running: Daemon, folder: Path, *names: str) -> None:
    """Wait until these files, and no other, have been moved away as done."""
    async with asyncio.timeout(SECONDS):
        while set(files(folder / DONE)) != set(names):
            await asyncio.sleep(0.05)
            assert running.returncode is None


# --- another service ----------------------------------------------------------------------------------


@pytest.fixture
async def stranger() -> AsyncIterator[Stranger]:
    """A workspace with more than a page of images."""
    async with Stranger.start() as running:
        running.shelves = {"team/eins ü": {f"old {n}": Piece(picture(100 + n), {"updatedAt": "1"}) for n in range(9)}}
        yield running


async def test_a_service_with_other_habits(stranger: Stranger, tmp_path: Path):
    """200 for 201, no size, a time with fractions, a relative link by way of the store: proven all the same, once."""
    outside = Outside(stranger.configure(tmp_path), lambda: ["canary-", SECRET, SIGNATURE])

    first = await outside("upload", "--json", drawn(tmp_path / "kite.png"))
    again = await outside("upload", "--json", drawn(tmp_path / "same.png"))
    backed_up = await outside.backup()

    assert (first.code, again.code, backed_up.code) == (0, 0, 0)
    assert stranger.uploads == ["up/1"]
    assert [(line["outcome"], line["image"], line["reencoded"]) for line in (first.lines[0], again.lines[0])] == [
        ("uploaded", "up/1", False),
        ("already", "up/1", False),
    ]
    assert outside.images()["up/1"]["sha256"] == first.lines[0]["sha256"] == sha256(picture(1)).hexdigest()
    at_store = [headers for where, _, headers in stranger.seen if where == "store"]
    assert at_store
    assert all("canary" not in str(headers) for headers in at_store)


async def test_an_answer_of_another_service_that_is_lost(stranger: Stranger, tmp_path: Path):
    """A gateway's page of HTML after the work was done: the image is found among the newest, and sent once."""
    stranger.lost = [web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")]
    outside = Outside(stranger.configure(tmp_path), lambda: ["canary-", SECRET, SIGNATURE])

    ran = await outside("upload", "--json", drawn(tmp_path / "kite.png"))

    assert (ran.code, stranger.uploads) == (0, ["up/1"])
    assert (ran.lines[0]["outcome"], ran.lines[0]["image"]) == ("uploaded", "up/1")
