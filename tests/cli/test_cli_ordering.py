"""`trigger`, `pause`, `resume`, and `backup` beside a daemon: what is asked of it, and what the shell is told."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_parts import Syncer
from support import configure, settings_of

from syncer import app
from syncer.cli import ordering
from syncer.daemon.control import Message, address, listening
from syncer.simulator.server import Simulator

ANSWER: Message = {"message": "begun", "exit_code": 0}


@contextmanager
def daemon(
    config: Path, socket: Path, answer: Callable[[Message], Message] = lambda _: ANSWER
) -> Iterator[list[Message]]:
    """The daemon's end: it holds its lock, listens at the socket, and remembers what it was asked."""
    asked: list[Message] = []
    ready: Future[Callable[[], object]] = Future()

    async def handle(message: Message) -> Message:
        asked.append(message)
        return answer(message)

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            with app.looked_after(settings_of(config), socket):
                async with listening(socket, handle):
                    ready.set_result(lambda: loop.call_soon_threadsafe(stop.set))
                    await stop.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        stop = ready.result()
        try:
            yield asked
        finally:
            stop()
    finally:
        thread.join()


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trigger"], {"ask": "trigger", "work": "full", "workspaces": [], "accept_deletions": False, "wait": False}),
        (
            ["trigger", "--quick", "a", "b"],
            {"ask": "trigger", "work": "quick", "workspaces": ["a", "b"], "accept_deletions": False, "wait": False},
        ),
        (
            ["trigger", "--verify", "--wait"],
            {"ask": "trigger", "work": "verify", "workspaces": [], "accept_deletions": False, "wait": True},
        ),
        (
            ["trigger", "--uploads", "a"],
            {"ask": "trigger", "work": "upload", "workspaces": ["a"], "accept_deletions": False, "wait": False},
        ),
        (["pause"], {"ask": "pause"}),
        (["resume"], {"ask": "resume"}),
    ],
)
def test_what_is_asked_is_what_was_typed(
    words: list[str], expected: dict[str, Any], syncer: Syncer, config: Path, socket: Path
):
    """And for which archive; the answer is told on stderr. It is found by its lock alone, wherever it listens."""
    with daemon(config, socket) as asked:
        ran = syncer(*words)
    assert asked == [{**expected, "archive": str(config.parent / "archive")}]
    assert (ran.code, ran.out) == (0, "")
    assert "begun" in ran.err


def test_the_answer_as_json(syncer: Syncer, config: Path, socket: Path):
    """One line with the type "summary", and the code that the shell gets."""
    with daemon(config, socket, lambda _: {"message": "1 failed", "exit_code": 3, "run": "r1"}):
        ran = syncer("trigger", "--wait", "--json")
    assert ran.code == 3
    assert ran.summary == {
        "type": "summary",
        "command": "trigger",
        "ok": True,
        "message": "1 failed",
        "run": "r1",
        "exit_code": 3,
    }


def test_what_the_daemon_says_is_no_markup(syncer: Syncer, config: Path, socket: Path):
    """Its words may hold what a service said: nothing of it steers a terminal."""
    with daemon(config, socket, lambda _: {"message": "[bold]x\x1b[31m", "hint": "[red]y\x07", "exit_code": 3}):
        ran = syncer("trigger", "--wait")
    assert "\x1b[31m" not in ran.err
    assert "\x07" not in ran.err
    assert "[bold]x" in ran.err
    assert "[red]y" in ran.err


@pytest.mark.parametrize("command", ["trigger", "pause", "resume"])
def test_without_a_daemon_it_says_what_to_do(command: str, syncer: Syncer, config: Path):
    """Exit 2, and no trace of a mistake of ours; also where there is no archive yet."""
    ran = syncer(command)
    assert ran.code == 2
    assert "syncer run" in ran.err
    assert not settings_of(config).archive.path.exists()


@pytest.mark.parametrize("kinds", [["--quick", "--verify"], ["--quick", "--uploads"], ["--verify", "--uploads"]])
def test_two_kinds_of_work_exclude_each_other(syncer: Syncer, config: Path, kinds: list[str]):
    """Before anybody is asked."""
    ran = syncer("trigger", *kinds)
    assert ran.code == 2
    assert "exclude each other" in ran.err


def test_a_backup_beside_a_daemon_names_the_command_that_does_it(syncer: Syncer, config: Path, socket: Path):
    """With the same workspaces, to be typed as it stands; a dry run is nobody's rival."""
    with daemon(config, socket) as asked:
        ran = syncer("backup", "--quick", "my brand")
        assert ran.code == 6
        assert "syncer trigger --wait 'my brand' --quick" in ran.err
        assert syncer("backup", "--dry-run").code == 0
    assert asked == []


def test_it_is_asked_where_it_says_that_it_listens_and_then_where_it_would_here(
    sim: Simulator, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The lock may be unreadable, or on a disk that is away: then the usual places are tried."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    settings = settings_of(config)
    here = address(None, settings.archive.path, os.environ)
    assert ordering.sockets(settings) == (here, ordering.SERVICE)
    for only_uploads in (False, True):
        with app.looked_after(settings, tmp_path / "there.sock", only_uploads=only_uploads):
            assert ordering.sockets(settings) == (tmp_path / "there.sock", here, ordering.SERVICE)

    configured = settings_of(configure(sim, tmp_path, daemon={"socket": "/run/x.sock"}))
    assert ordering.sockets(configured) == (Path("/run/x.sock"), ordering.SERVICE)
