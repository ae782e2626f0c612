"""The installed command as a person or a service manager runs it: another process, judged by what it leaves.

Every run is held to what must be true whatever happens: no traceback, no secret in its output, and a summary that
balances per workspace and in total. What it was meant to do is for the tests.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import CANARY, environment, lines, pictures, rows

from syncer.simulator.server import Simulator

PARTS = ("new", "changed", "unchanged", "filtered", "failed")
PATIENCE = 60  # seconds that a run may take before the test gives up; none of them comes near it


@dataclass(frozen=True)
class Finished:
    """What one run came to."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines on stdout."""
        return lines(self.out)

    @property
    def summary(self) -> dict[str, Any]:
        """The last of them."""
        last = self.lines[-1]
        assert last["type"] == "summary"
        return last

    @property
    def failures(self) -> dict[str, str]:
        """Why each image failed that did, by id."""
        return {line["image"]: line["reason"] for line in self.lines if line.get("outcome") == "failed"}

    @property
    def counts(self) -> dict[str, int]:
        """The counts of the summary that are not 0."""
        return {name: self.summary[name] for name in (*PARTS, "gone", "restored") if self.summary[name]}


class Outside:
    """The command with one configuration. `secrets` are what must not be printed; they may grow while it runs."""

    def __init__(self, config: Path, secrets: Callable[[], Iterable[str]] = tuple) -> None:
        self.config = config
        self.archive = config.parent / "archive"
        self._secrets = secrets

    async def __call__(self, *arguments: object, env: Mapping[str, str] | None = None) -> Finished:
        """Run the command to its end."""
        async with self.started(*arguments, env=env) as process:
            return await self.end(process)

    async def backup(self, *arguments: object, env: Mapping[str, str] | None = None) -> Finished:
        """Run `backup --json` to its end, and hold its summary to its balance."""
        finished = await self("backup", "--json", *arguments, env=env)
        balanced(finished)
        return finished

    @asynccontextmanager
    async def started(
        self, *arguments: object, env: Mapping[str, str] | None = None, under: Iterable[str] = (), **how: Any
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start the command, `under` another one if need be; one that still runs when the block ends is killed."""
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
        process = await asyncio.create_subprocess_exec(
            *(*under, sys.executable, "-m", "syncer", "--config", str(self.config), *map(str, arguments)),
            stdin=asyncio.subprocess.DEVNULL,
            env=environment(dict(env or {})),
            cwd=self.config.parent,
            limit=2**24,
            **{**pipes, **how},
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    async def end(self, process: asyncio.subprocess.Process, *, killed: bool = False) -> Finished:
        """Wait for a started command to end and judge what it printed."""
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
        assert process.returncode is not None
        finished = Finished(process.returncode, (out or b"").decode(), (err or b"").decode())
        for secret in (CANARY, *self._secrets()):
            assert secret not in finished.out, "a secret on stdout"
            assert secret not in finished.err, "a secret on stderr"
        assert "Traceback" not in finished.err, finished.err
        assert killed or finished.code != 1, f"a bug, by its own word: {finished.err}"
        return finished

    def images(self, where: str | None = None) -> dict[str, dict[str, Any]]:
        """The manifest's images by id."""
        return {row["image_id"]: row for row in rows(self.archive, "images", where)}

    def change(self, setting: str, value: object) -> None:
        """Set `table.key` in the configuration file to another value."""
        table, key = setting.split(".")
        text = self.config.read_text()
        line = f"{key} = {json.dumps(value)}"
        text, found = re.subn(rf"(?m)^{key} = .*$", line.replace("\\", r"\\"), text)
        self.config.write_text(text if found else text.replace(f"[{table}]", f"[{table}]\n{line}"))


Make = Callable[..., Outside]  # what the fixture `make` is


def balanced(finished: Finished) -> None:
    """Every image that was listed is in exactly one count, per workspace and in total; and no run flatters itself."""
    summary = finished.summary
    assert summary["exit_code"] == finished.code
    assert summary["complete"] == (finished.code == 0)
    if "listed" not in summary:  # it ended before there was anything to count
        assert finished.code == 2
        return
    for report in (summary, *summary["workspaces"]):
        assert report["listed"] == sum(report[part] for part in PARTS), report
    for count in ("listed", *PARTS, "gone", "restored", "bytes"):
        assert summary[count] == sum(report[count] for report in summary["workspaces"]), count
    assert summary["complete"] == (bool(summary["workspaces"]) and all(r["complete"] for r in summary["workspaces"]))
    assert summary["complete"] or summary["why"] or summary["dry_run"] or not summary["workspaces"]


def whole(outside: Outside) -> dict[str, Any]:
    """All that an archive holds apart from times, runs and its id, as a value; its files and rows have to agree."""
    files = pictures(outside.archive)
    kept: dict[str, Any] = {}
    for row in rows(outside.archive, "revisions"):
        sidecar = json.loads((outside.archive / row["sidecar"]).read_text())
        assert sidecar["sha256"] == row["sha256"]
        assert sidecar["document"] == json.loads(row["document"])
        assert len(files[row["path"]]) == row["bytes"]
        kept[f"{row['image_id']} {row['revision']}"] = [row["sha256"], row["path"], row["sidecar"], row["updated_at"]]
    held = {row["path"] for row in rows(outside.archive, "revisions")}
    assert set(files) == held, f"files that no row knows, or rows without a file: {set(files) ^ held}"
    staged = {path.name for path in (outside.archive / ".staging").iterdir()}
    assert staged <= {"lock", "home"}, staged
    images = {row["image_id"]: (row["state"], row["revision"]) for row in rows(outside.archive, "images")}
    return {"revisions": kept, "images": images, "files": files}


def tokens(sim: Simulator) -> Collection[str]:
    """Every token and signature that a simulated service has seen so far."""
    seen = {served.headers.get("Authorization", "").partition(" ")[2] for served in sim.requests}
    seen |= {served.query.get("X-Goog-Signature", "") for served in sim.requests}
    return seen - {""}
