"""The command is told what the webhook is, without our secrets, and cannot outstay its time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from notifier_parts import (
    CANARY,
    DOCS,
    FACTS,
    OK,
    REFUSED,
    RUN,
    Forgetful,
    Lines,
    Pauses,
    Receiver,
    addressed,
    logging_to,
    notifying,
    receiving,
)

from syncer.daemon.notifier import Facts
from syncer.daemon.snapshot import WorkspaceState
from syncer.settings import NotifySettings

CAPTURE = "import sys, pathlib, os, json; "


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Who is told besides."""
    async with receiving() as running:
        yield running


@pytest.fixture(autouse=True)
def logged(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Lines]]:
    """Call for what was logged."""
    with logging_to(capsys, monkeypatch, Forgetful()) as read:
        yield read


def commanded(*argv: str) -> NotifySettings:
    return NotifySettings(command=shlex.join(argv))


async def test_the_command_is_told_what_the_webhook_is(receiver: Receiver, tmp_path: Path):
    """The same JSON on its standard input, and the words of it in its environment; no shell reads its arguments."""
    script = CAPTURE + (
        "pathlib.Path(sys.argv[1]).write_text(json.dumps({'in': sys.stdin.read(), 'env': dict(os.environ),"
        " 'argv': sys.argv[2:], 'leads': os.getpgrp() == os.getpid()})); print('out'); print('err', file=sys.stderr)"
    )
    out = tmp_path / "told.json"
    line = shlex.join([sys.executable, "-c", script, str(out), "$HOME; *", ">x"])
    environ = {
        "HOME": "/nowhere",
        "SYNCER_CONFIG": "/etc/syncer.toml",
        "SYNCER_SERVICE__CLIENT_SECRET": CANARY,
        "SYNCER_SERVICE__CLIENT_SECRET_COMMAND": CANARY,
        "SYNCER_NOTIFY__PING_URL": CANARY,
        "syncer_notify__webhook_url": CANARY,
        "CREDENTIALS_DIRECTORY": "/run/credentials/syncer.service",
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "WATCHDOG_USEC": "1",
        "WATCHDOG_PID": "1",
    }
    async with notifying(addressed(receiver, command=line), environ) as notifier:
        notifier.changed(OK, REFUSED, FACTS)

    told = json.loads(out.read_text())
    assert told["in"].encode() == receiver.got[0].body
    assert told["argv"] == ["$HOME; *", ">x"]
    assert told["leads"]
    python_adds = {"LC_CTYPE"}
    assert {name: value for name, value in told["env"].items() if name not in python_adds} == {
        "HOME": "/nowhere",
        "SYNCER_CONFIG": "/etc/syncer.toml",
        "SYNCER_STATE": "degraded",
        "SYNCER_REASON": "credentials",
        "SYNCER_RUN": RUN,
    }


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (("/bin/sh", "-c", f"exit 3 # {CANARY}"), "the command failed with exit status 3"),
        (("/bin/sh", "-c", "kill -9 $$"), "the command failed with exit status -9"),
        ((f"/nowhere/{CANARY}",), "the command cannot be run: No such file or directory"),
        (("/bin/sleep", "1000"), "the command took longer than 0.2 s and was stopped"),
    ],
)
async def test_a_command_that_fails_is_one_warning(argv: tuple[str, ...], reason: str, logged):
    """After three tries, without its arguments."""
    pauses = Pauses()
    async with notifying(commanded(*argv), sleep=pauses, command_seconds=0.2 if "longer" in reason else 60) as notifier:
        notifier.changed(OK, REFUSED, FACTS)

    (warning,) = logged()
    assert (warning["event"], warning["channel"], warning["reason"]) == ("notice.failed", "command", reason)
    assert len(pauses) == 2


async def test_a_command_is_killed_with_its_children(tmp_path: Path, logged):
    """None of them outlives the daemon: the pipe that they hold open is closed."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = f"exec 3>{shlex.quote(str(pipe))}; sleep 100 & echo up >&3; wait"
    async with notifying(commanded("/bin/sh", "-c", script), closing_seconds=0) as notifier:
        notifier.changed(OK, REFUSED, FACTS)
        reading = await asyncio.to_thread(pipe.open)  # waits until it has been opened for writing
        assert await asyncio.to_thread(reading.readline) == "up\n"

    with contextlib.closing(reading):
        assert await asyncio.to_thread(reading.read) == ""  # waits until nobody can write any more
    assert [line["reason"] for line in logged()] == ["stopped"]


async def test_a_command_need_not_listen(logged):
    """One that ends without reading a long text is as good as any."""
    crowd = tuple(WorkspaceState(f"workspace-{number}", "x" * 200) for number in range(2000))
    async with notifying(commanded("/bin/true")) as notifier:
        notifier.changed(OK, REFUSED, Facts("", workspaces=crowd))
    assert logged() == []


def test_the_script_for_mail_writes_a_mail(tmp_path: Path):
    """As it stands on the page, but for where `sendmail` is."""
    (script,) = re.findall(r"^```sh\n(#!/bin/sh\n.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
    sendmail, mail = tmp_path / "sendmail", tmp_path / "syncer-mail"
    sendmail.write_text('#!/bin/sh\necho "$@"\ncat\n')
    mail.write_text(script.replace("/usr/sbin/sendmail", str(sendmail)))
    for file in (sendmail, mail):
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    environ = {**os.environ, "SYNCER_STATE": "degraded", "SYNCER_REASON": "incomplete"}
    sent = subprocess.run([mail], input=b'{"type": "state"}', env=environ, capture_output=True, check=True, timeout=60)

    head, _, body = sent.stdout.decode().partition("\n\n")
    assert head.splitlines()[:2] == ["-t", "To: ops@example.com"]
    assert head.splitlines()[2].endswith("is degraded (incomplete)")
    assert body == '{"type": "state"}'
