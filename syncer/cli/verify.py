"""`syncer verify`: trust only bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import structlog
from cyclopts import Parameter

from syncer.cli.output import clean, data, err, interactive, plural, say, size
from syncer.errors import ConfigError

if TYPE_CHECKING:
    from syncer.model import Finding
    from syncer.operations.repair import Mended, Planned, Unmended
    from syncer.operations.verification import Options, Part, Progress, Verification, Watch
    from syncer.settings import Settings

DAMAGED = 4

log = structlog.get_logger()


def verify_(
    *,
    quick: Annotated[bool, Parameter(negative=())] = False,
    subset: str | None = None,
    bwlimit: str | None = None,
    repair: Annotated[bool, Parameter(negative=())] = False,
    remote: Annotated[bool, Parameter(negative=())] = False,
    resume: Annotated[bool, Parameter(negative=())] = False,
    no_record: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Hash every picture again, and hold sidecars, journal and manifest against each other.

    Reads the archive only, and ends with one line in its journal: when it was verified, and what was found.

    Parameters
    ----------
    quick
        Look at presence and size only.
    subset
        Look into a part of the images only, as n/t: 1/30 to 30/30, one a day, are all of them in a month.
    bwlimit
        Read no more than so many bytes a second, like 20MiB.
    repair
        Put back what the service still has in the very same bytes, and sidecars from the manifest; needs credentials.
    remote
        Compare with what the service has now instead, metadata and bytes; keeps both versions; needs credentials.
    resume
        Go on where a verification of this archive (and subset) was interrupted in the last 7 days: its pictures are not
        hashed again.
    no_record
        Do not write that line. It is left out anyway where the archive is another user's, a copy, or in use.
    json
        Write JSON lines to stdout, one a finding, the last one with the type "summary".
    """
    from syncer.cli.invocation import configure_log, settings
    from syncer.operations.verification import Options

    options = Options(quick=quick, part=part(subset), rate=rate(bwlimit))
    configure_log("warning" if interactive() else "info")
    if remote:
        if quick or repair or bwlimit or resume:
            raise ConfigError("--remote goes with --subset and --json only")
        from syncer.cli import verify_remote

        return verify_remote.carry_out(settings(), options.part, json=json)
    if resume and (quick or repair):
        raise ConfigError("--resume goes neither with --quick nor with --repair")
    return carry_out(settings(), options, json=json, mending=repair, resume=resume, record=not no_record)


def part(text: str | None) -> Part:
    """Read `n/t`. Raises `ConfigError`."""
    from syncer.operations.verification import Part

    if text is None:
        return Part()
    number, slash, of = text.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ConfigError(f"--subset wants n/t, got {text!r}", hint="for example: --subset 1/30")
    return Part(int(number), int(of))


def rate(text: str | None) -> int | None:
    """Read a number of bytes a second; 0 is no limit. Raises `ConfigError`."""
    from syncer.settings import parse_size

    if text is None:
        return None
    try:
        return parse_size(text.removesuffix("/s")) or None
    except ValueError as error:
        raise ConfigError(f"--bwlimit: {error}", hint="for example: --bwlimit 20MiB") from None


def carry_out(
    settings: Settings,
    options: Options,
    *,
    json: bool,
    mending: bool = False,
    resume: bool = False,
    record: bool = True,
) -> int:
    """Run one verification to its exit code and tell how it went."""
    from syncer import app
    from syncer.cli.resuming import Note, Stop, forget
    from syncer.cli.running import run
    from syncer.operations.repair import Repair, repair
    from syncer.operations.verification import Verification
    from syncer.operations.verify import verify

    result, mended = Verification(), Repair()
    started = time.monotonic()
    unrecorded: str | None = "not asked for" if not record else "it was stopped"
    note = None if mending or options.quick else Note.of(settings.archive.path, options, os.environ)
    before = note.stop_for(settings.archive.path, say) if note and resume else Stop()
    options = replace(options, after=before.reached)
    if before.reached:
        say(f"Going on behind {clean(before.reached)}.")

    async def look(watch: Watch) -> int:
        if not mending:

            def see(event: Finding | Progress) -> None:
                watch(event)
                if note:
                    note.see(event)
                    note.save_now_and_then(result, before)

            await verify(settings.archive.path, options, see, result)
            return DAMAGED if result.damage + before.damage else 0
        async with app.opened(settings, os.environ, "verify") as rooms:
            await repair(rooms, options, watch, partial(tell_repair, json=json), result, mended)
        return DAMAGED if mended.damage else 0

    async def work() -> int:
        nonlocal unrecorded
        with watching(json=json) as watch:
            found = await look(watch)
        if record:
            damage = mended.damage if mending else result.damage + before.damage
            unrecorded = await app.remember_verified(settings, "verify", options, result, damage=damage)
        return found

    code = run(work(), stopping="[bold]Stopping:[/] what was put back stays.")
    seconds = time.monotonic() - started
    tell(result, seconds, code)
    if record and unrecorded and code not in {130, 143}:
        say(f"  [dim]not told to the archive's journal: {clean(unrecorded)}[/]")
    if note and code in {130, 143}:
        note.save(result, before)
        say("  [bold]→[/] `syncer verify --resume` goes on from here")
    elif note:
        note.drop()
    if mending and mended.mended:
        forget(settings.archive.path, os.environ)
    if before.damage:
        say(f"[bold red]Before it was interrupted[/] it had found damage ({before.damage:,}): verify without --resume.")
    if mending and result.damage:
        counts = f"{mended.lost:,} lost, {mended.unmended:,} that could not be put back now"
        say(f"[bold]Repair:[/] {plural(mended.mended, 'file')} put back, {counts}.")
    if json:
        data(
            {
                "type": "summary",
                "command": "verify",
                "pictures": result.pictures,
                "sidecars": result.sidecars,
                "journal_lines": result.lines,
                "bytes": result.bytes,
                "damage": result.damage,
                "damage_before": before.damage,
                "findings": {str(harm): count for harm, count in result.found.items()},
                **({"repaired": mended.mended, "lost": mended.lost, "unrepaired": mended.unmended} if mending else {}),
                "recorded": unrecorded is None,
                "seconds": round(seconds, 3),
                "exit_code": code,
            }
        )
    return code


def tell(result: Verification, seconds: float, code: int) -> None:
    """Say in a line or two what a verification came to."""
    looked = f"{plural(result.pictures, 'picture')}, {plural(result.sidecars, 'sidecar')}"
    looked += f", {plural(result.lines, 'line')} of the journal; {size(result.bytes)} read in {seconds:.1f} s"
    if code in {130, 143}:
        say(f"[bold yellow]Stopped[/] after {looked}.")
    elif result.damage:
        kinds = ", ".join(f"{count:,} {harm.replace('_', ' ')}" for harm, count in result.found.items())
        say(f"[bold red]Damage found:[/] {kinds} ({looked}).")
        say("  [bold]→[/] `syncer verify --repair` puts back what can be had; `syncer rebuild` makes a manifest anew")
    else:
        say(f"[bold green]No damage.[/] {looked}.")


def tell_repair(event: Planned | Mended | Unmended, *, json: bool) -> None:
    """Say what is going to be put back, and then what became of it."""
    from syncer.operations.repair import Mended, Planned, Unmended

    match event:
        case Planned(finding, sidecar):
            path, word = finding.path, "will_repair"
            text = "to be written again from the manifest" if sidecar else "to be fetched again from the service"
        case Mended(path, evidence):
            word, text = "repaired", f"put back; what was there is in {evidence}" if evidence else "put back"
        case Unmended(path, text, lost):
            word = "lost" if lost else "unrepaired"
    if json:
        data({"type": "repair", "repair": word, "path": path, "detail": text})
    if interactive():
        say(f"{word.replace('_', ' ')}  [bold]{clean(path)}[/]  {clean(text)}")
    else:
        log.info(f"file.{word}", path=path, detail=text)


@contextmanager
def watching(*, json: bool) -> Iterator[Watch]:
    """Choose what fits where we run: a bar on a terminal, else log lines; JSON lines besides, if asked for."""
    from syncer.model import Finding

    with _showing() as show:

        def watch(event: Finding | Progress) -> None:
            if json and isinstance(event, Finding):
                data({"type": "finding", **_line(event)})
            show(event)

        yield watch


@contextmanager
def _showing() -> Iterator[Watch]:
    if not interactive():
        from syncer.operations.loglines import FindingLines

        yield FindingLines()
        return
    from rich import progress as rich

    from syncer.model import Finding

    columns = (
        rich.SpinnerColumn(),
        rich.TextColumn("{task.description}"),
        rich.BarColumn(bar_width=28),
        rich.TransferSpeedColumn(),
    )
    with rich.Progress(*columns, console=err, transient=True) as bars:
        task = bars.add_task("Verifying", total=None)

        def show(event: Finding | Progress) -> None:
            if isinstance(event, Finding):
                colour, kind = "red" if event.harm.damage else "yellow", event.harm.replace("_", " ")
                say(f"[{colour}]{kind}[/]  [bold]{clean(event.path)}[/]  {clean(event.detail)}")
            else:
                text = f"{event.stage} [bold]{event.done:,}[/]"
                bars.update(task, description=text, completed=event.bytes, total=event.total)

        yield show


def _line(finding: Finding) -> dict[str, object]:
    return {
        "finding": str(finding.harm),
        "damage": finding.harm.damage,
        "path": finding.path,
        "detail": finding.detail,
        "workspace": finding.workspace_id,
        "image": finding.image_id,
        "revision": finding.revision,
    }
