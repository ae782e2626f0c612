"""What people and programs see: help at once, bars on a terminal, plain lines in a pipe, data on stdout."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from outside import Outside, whole
from support import environment, syncer

from syncer.simulator import faults
from syncer.simulator.server import Simulator

COMMANDS = ("demo", "simulate", "init", "check", "backup", "status", "list", "show")


def cpu_of_help() -> float:
    """The CPU seconds that `syncer --help` takes, without those of measuring what the tests cover."""
    plain = {name: value for name, value in environment().items() if not name.startswith("COV")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "syncer", "--help"], env=plain, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_instant():
    """`syncer --help` takes less than 0.3 s of CPU."""
    assert min(cpu_of_help() for _ in range(8)) < 0.3


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_with_its_exit_codes(command: str):
    """What a script has to handle stands at the end of each command's help, and help goes to stdout."""
    ran = syncer(command, "--help")

    assert ran.returncode == 0
    assert "Exit codes:" in ran.stdout
    tail = ran.stdout[ran.stdout.index("Exit codes:") :]
    assert "complete" in tail
    assert ran.stderr == ""


async def on_terminal(outside: Outside, *arguments: str, awaited: str, shown: asyncio.Event) -> tuple[int, str, str]:
    """Run the command with a pseudo-terminal for stderr; its code, stdout, and what the terminal was sent.

    `shown` is set as soon as the terminal was sent the awaited text.
    """
    master, slave = pty.openpty()
    chunks: list[bytes] = []
    gone = asyncio.Event()

    def read() -> None:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # the other end is closed
            chunk = b""
        chunks.append(chunk)
        if awaited.encode() in b"".join(chunks):
            shown.set()
        if not chunk:
            asyncio.get_running_loop().remove_reader(master)
            gone.set()

    asyncio.get_running_loop().add_reader(master, read)
    env = {"TERM": "xterm-256color", "NO_COLOR": "", "COLUMNS": "120"}
    async with outside.started(*arguments, env=env, stderr=slave) as process:
        os.close(slave)
        out, _ = await asyncio.wait_for(process.communicate(), 30)
        await asyncio.wait_for(gone.wait(), 10)
    os.close(master)
    assert process.returncode is not None
    return process.returncode, out.decode(), b"".join(chunks).decode()


async def test_a_person_sees_bars_and_a_pipe_sees_lines(sim: Simulator, shelf: str, outside: Outside):
    """On a terminal: bars that move, no log lines. In a pipe: log lines without an escape code. The same JSON."""
    shown, count = asyncio.Event(), f"/{len(sim.workspaces[shelf])}"
    sim.faults.on("content", faults.before(lambda _: asyncio.wait_for(shown.wait(), 20)))

    code, out, screen = await on_terminal(outside, "backup", "--json", awaited=count, shown=shown)

    assert code == 0
    assert "\x1b[" in screen
    assert "━" in screen or "╸" in screen
    assert count in screen
    assert "image.stored" not in screen
    assert "\x1b" not in out
    assert json.loads(out.splitlines()[-1])["type"] == "summary"

    sim.workspaces[shelf].add()
    ran = await outside.backup()
    assert "\x1b" not in ran.err + ran.out
    assert "image.stored" in ran.err
    assert "━" not in ran.err


@pytest.mark.slow
async def test_looking_answers_in_text_and_in_json(sim: Simulator, shelf: str, outside: Outside):
    """status, list and show agree with the archive; data on stdout, the last JSON line a summary."""
    outside.change("limits.downloads", 4)
    empty = await outside("status", "--json")
    assert (empty.code, empty.summary["live"]) == (0, 0)
    assert (await outside("status", "--max-age", "1h")).code == 3
    assert (await outside("list")).code == 0
    assert (await outside("backup")).code == 0
    ids = sim.workspaces[shelf].ids
    image = ids[0]

    status = await outside("status", "--json", "--max-age", "26h")
    assert status.code == 0
    assert (status.summary["live"], status.summary["owed"], status.summary["complete"]) == (len(ids), 0, True)
    text = await outside("status")
    assert f"{len(ids)} images" in text.out or str(len(ids)) in text.out
    listed = await outside("list", "--json")
    images = [line for line in listed.lines if line["type"] == "image"]
    assert {line["image_id"] for line in images} == set(ids)
    assert [line["created_at"] for line in images] == sorted((line["created_at"] for line in images), reverse=True)
    assert listed.summary["images"] == len(ids)
    assert len((await outside("list", "--limit", "3")).out.splitlines()) == 3
    assert (await outside("list", "nobody")).code == 2
    shown = await outside("show", image)
    assert (shown.code, image in shown.out) == (0, True)
    assert (await outside("show", "nobody")).code == 3
    assert (await outside("status", "--max-age", "yesterday")).code == 2


async def test_a_reader_who_has_had_enough_is_no_bug(sim: Simulator, shelf: str, outside: Outside):
    """`syncer list | head -1`: no traceback, no exit code 1."""
    sim.workspaces[shelf].add_many(300)
    assert (await outside("backup")).code == 0

    async with outside.started("list", stdout=asyncio.subprocess.PIPE) as process:
        assert process.stdout is not None
        assert await process.stdout.readline()
        process.stdout._transport.close()  # type: ignore[attr-defined]
        ran = await outside.end(process)

    assert ran.code in {0, 141}


async def test_a_backup_whose_reader_leaves_is_not_called_complete(sim: Simulator, shelf: str, outside: Outside):
    """`syncer backup --json | head -1`: either the copying goes on to its end, or the code is not 0; never a bug."""
    outside.change("limits.downloads", 2)
    gone = asyncio.Event()
    sim.faults.on("content", faults.before(lambda _: gone.wait()), image=sim.workspaces[shelf].ids[5])

    async with outside.started("backup", "--json") as process:
        assert process.stdout is not None
        assert await process.stdout.readline()
        process.stdout._transport.close()  # type: ignore[attr-defined]
        gone.set()
        ran = await outside.end(process)

    held = outside.images()
    assert ran.code != 0 or set(held) == set(sim.workspaces[shelf].ids)


@pytest.mark.parametrize("closed", [1, 2], ids=["stdout", "stderr"])
async def test_a_closed_stream_is_no_bug(outside: Outside, closed: int):
    """As some service managers start their children: the backup is made all the same."""
    shell = ("/bin/sh", "-c", f'exec "$@" {closed}>&-', "sh")
    async with outside.started("backup", under=shell) as process:
        ran = await outside.end(process)

    assert ran.code == 0
    assert outside.images()


async def test_letters_that_the_terminal_lacks_are_no_bug(sim: Simulator, shelf: str, outside: Outside):
    """A prompt with an emoji on a terminal of another age: shown somehow, exit 0."""
    sim.workspaces[shelf].change(sim.workspaces[shelf].ids[0], prompt="🖼 crème brûlée ×")
    old = {"PYTHONIOENCODING": "ascii"}
    assert (await outside("backup", env=old)).code == 0

    looked = [await outside(*words, env=old) for words in (["list"], ["show", sim.workspaces[shelf].ids[0]])]

    assert [ran.code for ran in looked] == [0, 0]
    assert all("br" in ran.out for ran in looked)


async def test_the_simulated_service_is_a_service_of_its_own(outside: Outside, tmp_path: Path):
    """`syncer simulate` prints a configuration that works as it is, and ends with 0 on Ctrl-C."""
    async with outside.started("simulate", "--images", "10") as service:
        assert service.stdout is not None
        text = b""
        while text.count(b"[[workspaces]]") < 2 or not text.endswith(b'"\n'):
            text += await asyncio.wait_for(service.stdout.readline(), 20)
        config = tmp_path / "simulated.toml"
        config.write_bytes(text)
        ran = await Outside(config).backup()
        service.send_signal(signal.SIGINT)
        ended = await outside.end(service)

    assert (ran.code, ran.counts) == (0, {"new": 10})
    assert ended.code == 0


@pytest.mark.slow
def test_the_demo_shows_the_main_job(tmp_path: Path):
    """No account, no configuration: two backups, changes between them, and an archive to look at."""
    ran = syncer("demo", "--images", "30", "--keep", tmp_path / "demo")

    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    looked = syncer("--config", tmp_path / "demo" / "syncer.toml", "status", "--json")
    assert looked.returncode == 0
    assert json.loads(looked.stdout.splitlines()[-1])["gone"] == 4


async def test_a_log_for_machines_is_json_line_by_line(sim: Simulator, outside: Outside):
    """SYNCER_LOG_FORMAT=json: what a journal collects can be parsed, the run and the workspace in it."""
    ran = await outside("backup", "--json", env={"SYNCER_LOG_FORMAT": "json"})

    records = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    assert ran.code == 0
    assert {"pass.began", "image.stored", "pass.ended"} <= {record["event"] for record in records}


async def test_debug_logs_hold_no_secret_even_of_signed_urls(sim: Simulator, shelf: str, outside: Outside):
    """Everything at level debug, signed links in the rows, redirects to the store, failures: no token, no signature."""
    ids = sim.workspaces[shelf].ids
    sim.faults.on("content", faults.redirect(sim.to_store), image=ids[0])
    sim.faults.on("store", faults.status(403), image=ids[1])
    sim.faults.on("listing", faults.relink(lambda row: sim.signed_url(shelf, row["id"])))

    async def echo(request: web.Request, _: faults.Proceed) -> web.StreamResponse:
        return web.json_response({"error": f"no: {request.headers['Authorization']}", "code": "X"}, status=403)

    sim.faults.on("image", echo)

    ran = await outside("--log-level", "debug", "backup", "--json")

    assert ran.code == 3
    assert set(ran.failures) == {ids[1]}
    secrets = {served.query.get("X-Goog-Signature", "") for served in sim.requests} - {""}
    assert secrets
    for path in outside.archive.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret.encode() in content for secret in secrets), f"a signature stands in {path.name}"
    whole(outside)
