"""`syncer check`: everything a backup needs, one line each, and what to do about a failure."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from syncer.cli.output import clean, data, out
from syncer.errors import ConfigError
from syncer.redaction import redact

if TYPE_CHECKING:
    from syncer.operations.check import Check
    from syncer.settings import Settings

RETRIES, RETRY_SECONDS = 1, 20  # a person is waiting


def check_(*, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Check configuration, credentials, workspaces, disk, clock and SQLite, and say what to do about a failure.

    Parameters
    ----------
    json
        Write JSON lines to stdout, the last one with the type "summary".
    """
    from syncer.cli.invocation import configure_log, settings
    from syncer.cli.running import run

    configure_log("warning")
    loaded = settings()
    codes: list[int] = []

    async def work() -> int:
        async for check in _checks(loaded):
            codes.append(check.exit_code)
            _tell(check, json=json)
        return next((code for code in codes if code), 0)

    code = run(work())
    if json:
        failed = sum(bool(one) for one in codes)
        data({"type": "summary", "command": "check", "checks": len(codes), "failed": failed, "exit_code": code})
    return code


async def _checks(settings: Settings) -> AsyncIterator[Check]:
    from syncer import app
    from syncer.operations.check import Check, check_machine, check_service
    from syncer.service.client import ImageService

    yield Check("configuration", str(settings.source or "from the environment"))
    for check in check_machine(settings):
        yield check
    try:
        connection = await asyncio.to_thread(app.connect, settings, os.environ)
    except ConfigError as error:
        text = "; ".join([error.message, *error.problems])
        hint = error.hint or "see service.client_id and service.client_secret_file in the configuration (`syncer init`)"
        yield Check("credentials", text, error.exit_code, hint)
        return
    limited = replace(connection, retries=min(RETRIES, connection.retries), retry_seconds=RETRY_SECONDS)
    async with ImageService.open(limited, on_secret=redact.learn) as service:
        async for check in check_service(service, settings):
            yield check


def _tell(check: Check, *, json: bool) -> None:
    if json:
        data({"type": "check", "ok": check.ok, **asdict(check)})
        return
    mark = "[green]✓[/]" if check.ok else "[bold red]✗[/]"
    out.print(f"{mark} [bold]{clean(check.name)}[/]: {clean(redact(check.detail))}")
    if check.hint and not check.ok:
        out.print(f"    [bold]→[/] {clean(check.hint)}")
