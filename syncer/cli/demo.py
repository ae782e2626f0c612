"""`syncer demo`: the main job on this machine alone, in some seconds: no account, no questions."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from syncer.cli.output import clean, plural, say, size
from syncer.errors import ConfigError

if TYPE_CHECKING:
    from syncer.operations.backup import Backup
    from syncer.settings import Settings
    from syncer.simulator.changes import Changes
    from syncer.simulator.server import Simulator


def demo_(
    *,
    keep: Path | None = None,
    images: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=20000))] = 240,
) -> int:
    """Start a simulated service, back it up, change things there, back up again, verify, and say where to look.

    Parameters
    ----------
    keep
        Where to put the archive; a new temporary folder when left out.
    images
        How many images the simulated workspaces hold together.
    """
    from syncer.cli.invocation import configure_log
    from syncer.cli.running import run
    from syncer.cli.simulate import configuration
    from syncer.settings import load
    from syncer.simulator.server import Options, Simulator

    configure_log("warning")
    folder = _folder(keep)

    async def work() -> int:
        started = time.monotonic()
        _chapter(1, f"Starting a simulated image service on this machine, with {plural(images, 'picture')}")
        async with Simulator.start(Options(images=images)) as sim:
            say(f"   {sim.url}   [dim](two workspaces; PNG, JPEG and WebP; nothing leaves this machine)[/]")
            config = folder / "syncer.toml"
            config.write_text(configuration(sim, folder), encoding="utf-8")
            settings, _ = load(config, {})
            _chapter(2, "First backup: everything is new")
            code = _told(await _backup(settings))
            _chapter(3, "A week passes at the service …")
            say(f"   {_week(sim)}")
            _chapter(4, "Second backup: only what is different is fetched")
            code = code or _told(await _backup(settings))
            _chapter(5, "Verify: every byte hashed again, every row held against sidecars and journal")
            verified = await _verify(settings)
        code = code or verified
        _ending(folder, settings, time.monotonic() - started)
        return code

    return run(work())


def _folder(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="syncer-demo-"))
    folder = keep.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):  # an earlier demo's archive belongs to a service that is gone
            folder = folder / f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
            folder.mkdir()
    except OSError as error:
        raise ConfigError(
            f"cannot use {folder}: {error.strerror}", hint="name a folder that you may write to"
        ) from None
    return folder


def _chapter(number: int, text: str) -> None:
    say(f"\n[bold cyan]{number}[/] [bold]{clean(text)}[/]")


async def _backup(settings: Settings) -> Backup:
    from syncer import app
    from syncer.cli.watching import watching
    from syncer.operations.backup import Backup, backup
    from syncer.operations.passes import Options

    result = Backup()
    started = time.monotonic()
    with watching(json=False) as watch:
        async with app.opened(settings, {}, "demo", make=True) as rooms:
            await backup(rooms, (), Options(), watch, result)
    result.seconds = time.monotonic() - started
    return result


async def _verify(settings: Settings) -> int:
    from syncer.cli.verify import DAMAGED, watching
    from syncer.operations.verification import Options, Verification
    from syncer.operations.verify import verify

    result = Verification()
    started = time.monotonic()
    with watching(json=False) as watch:
        await verify(settings.archive.path, Options(), watch, result)
    told = f"{plural(result.pictures, 'picture')}, {plural(result.sidecars, 'sidecar')}, {size(result.bytes)}"
    verdict = "[bold red]✗[/] damage" if result.damage else "[green]✓[/] no damage"
    say(f"   {verdict} in {told}, after {time.monotonic() - started:.1f} s")
    return DAMAGED if result.damage else 0


def _told(result: Backup) -> int:
    for report in result.reports:
        changes = [
            ("new", report.new),
            ("changed", report.changed),
            ("unchanged", report.unchanged),
            ("gone", report.gone),
        ]
        told = ", ".join(f"{count} {name}" for name, count in changes if count)
        say(f"   [green]✓[/] {clean(report.name):<18} {told}, {size(report.bytes)} in {report.seconds:.1f} s")
        for why in report.why:
            say(f"     [yellow]{clean(why)}[/]")
    return result.exit_code


def _week(sim: Simulator) -> str:
    from syncer.simulator.changes import mutate

    done: list[Changes] = [mutate(shelf) for shelf in sim.workspaces.values() if shelf.accessible]
    added, repainted = sum(c.added for c in done), sum(c.repainted for c in done)
    renamed, deleted = sum(c.renamed for c in done), sum(c.deleted for c in done)
    return (
        f"{plural(added, 'new image')}, {repainted} with other bytes, "
        f"{renamed} with another prompt only, {deleted} deleted by someone"
    )


def _ending(folder: Path, settings: Settings, seconds: float) -> None:
    archive = settings.archive.path
    files = [path for path in archive.rglob("*") if path.is_file() and path.suffix in {".png", ".jpg", ".webp"}]
    held = size(sum(path.stat().st_size for path in files))
    shown = clean(os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else folder)
    command = _command()
    _chapter(6, f"What you have now, after {seconds:.1f} s")
    say(f"   {plural(len(files), 'picture')} ({held}), each with a sidecar that holds the service's own JSON, under")
    say(f"   [bold]{clean(archive)}[/]")
    say("   What was deleted at the service is still here, and what changed is here in both versions.")
    say("\n[bold]Try next[/] (the service is gone again; these only read the archive)")
    say(f"   {command} --config {shown}/syncer.toml status")
    say(f"   {command} --config {shown}/syncer.toml list --state gone")
    say(f"   {command} --config {shown}/syncer.toml show {clean(_example(settings))}")
    say(f"   {command} simulate        [dim]# the service alone, to play with; it prints a configuration for itself[/]")
    say(f"   {command} init            [dim]# a configuration for your own workspaces[/]")


def _command() -> str:
    """Say how this person can call us again."""
    if shutil.which("syncer"):
        return "syncer"
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m syncer"
    return clean(os.path.relpath(called) if called.absolute().is_relative_to(Path.cwd()) else called.absolute())


def _example(settings: Settings) -> str:
    from syncer.archive.layout import MANIFEST
    from syncer.manifest.reader import Filter, Reader

    with Reader.open(settings.archive.path / MANIFEST) as reader:
        several = [row for row in reader.images(Filter()) if row["revision"] > 1]
    return str(several[0]["image_id"]) if several else "IMAGE"
