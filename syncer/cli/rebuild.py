"""`syncer rebuild`: the manifest anew, from the archive alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from syncer.cli.output import clean, data, plural, say

if TYPE_CHECKING:
    from syncer.operations.rebuild import Rebuilt
    from syncer.settings import Settings

DAMAGED = 4


def rebuild_(*, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Make manifest.db anew from sidecars and journal, beside the old one, which is kept in .evidence.

    Needs neither credentials nor network. Use it when manifest.db is missing, damaged, or not to be trusted.

    Parameters
    ----------
    json
        Write JSON lines to stdout, the last one with the type "summary".
    """
    from syncer.cli.invocation import configure_log, settings
    from syncer.cli.output import interactive

    configure_log("warning" if interactive() else "info")
    return carry_out(settings(), json=json)


def carry_out(settings: Settings, *, json: bool) -> int:
    """Run one rebuild to its exit code and tell how it went."""
    from syncer import app
    from syncer.cli.running import run
    from syncer.cli.verify import watching
    from syncer.operations.rebuild import Rebuilt, rebuild

    result = Rebuilt()
    started = time.monotonic()

    async def work() -> int:
        with watching(json=json) as watch:
            async with app.held(settings, "rebuild") as (archive, journal, name):
                await rebuild(archive, journal, name, watch, result)
        return DAMAGED if result.problems else 0

    code = run(work(), stopping="[bold]Stopping:[/] the manifest stays as it is.")
    seconds = time.monotonic() - started
    _tell(result, seconds, code)
    if json:
        data(
            {
                "type": "summary",
                "command": "rebuild",
                **result.rows,
                "found": result.found,
                "problems": result.problems,
                "statistics_carried_over": result.carried,
                "evidence": result.evidence,
                "seconds": round(seconds, 3),
                "exit_code": code,
            }
        )
    return code


def _tell(result: Rebuilt, seconds: float, code: int) -> None:
    if code in {130, 143}:
        say("[bold yellow]Stopped.[/] The manifest is as it was.")
        return
    rows = result.rows
    told = f"{plural(rows['images'], 'image')}, {plural(rows['revisions'], 'revision')} in {seconds:.1f} s"
    found = f"; {plural(result.found, 'pair')} of which nothing told" if result.found else ""
    say(f"[bold green]Rebuilt:[/] {told}{found}")
    if not result.carried:
        say("  the statistics of earlier runs stood in the old manifest only, and are not in this one")
    if result.evidence:
        say(f"  the old manifest is kept in {clean(result.evidence)}")
    if result.problems:
        say(f"[bold red]{plural(result.problems, 'problem')}[/] with what it was made from.")
        say("  [bold]→[/] run `syncer verify`, then `syncer backup`, which fetches anew what is not in the manifest")
