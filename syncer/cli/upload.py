"""`syncer upload`: push files, and addresses that the service fetches itself; and settle what only a person can tell.

All that is named is looked at before anything is sent. A person's files stay where they are.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from syncer.cli.output import data, interactive
from syncer.errors import AlreadyRunning, ConfigError, SyncerError

if TYPE_CHECKING:
    from syncer.inbox.drop import Drop
    from syncer.model import Workspace
    from syncer.operations.parcels import Parcel
    from syncer.operations.rooms import Looking, Rooms
    from syncer.settings import Settings

SHA256 = re.compile("[0-9a-f]{64}")


def upload_(
    *source: str,
    workspace: Annotated[str | None, Parameter(name=["--workspace", "-w"])] = None,
    dry_run: Annotated[bool, Parameter(name=["--dry-run", "-n"], negative=())] = False,
    again: Annotated[bool, Parameter(negative=())] = False,
    allow_private: Annotated[bool, Parameter(negative=())] = False,
    arrived: str | None = None,
    lost: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Push files to a workspace, once each, and prove that they are there.

    What is there from an earlier upload is not sent again, whatever its name.

    Parameters
    ----------
    source
        Files, or addresses (https://…) that the service fetches; to settle one: its SHA256, from `syncer status`.
    workspace
        Id or name of the workspace; may be left out where only one is configured.
    dry_run
        Say what would be sent, and send and write nothing.
    again
        Send also what is there already, was refused or is undecided; it may be there twice then.
    allow_private
        Take addresses of hosts in private networks as well.
    arrived
        Settle an undecided upload: it is the image with this id.
    lost
        Settle an undecided upload: it never arrived.
    json
        Write JSON lines to stdout, the last one with the type "summary".
    """
    from syncer.cli.invocation import configure_log, settings

    deciding = arrived is not None or lost
    _check_usage(source, arrived, lost=lost, sending=dry_run or again or allow_private)
    configure_log("error" if interactive() else "info")  # what it warns of is told a person in other words
    loaded = settings()
    asked = _workspace(loaded, workspace)
    if deciding:
        return _settle(loaded, asked, source[0].lower(), arrived, json=json)
    items = _items(source, most=loaded.limits.upload_bytes, private=allow_private)
    return _send(loaded, asked, items, dry=dry_run, again=again, json=json)


def _check_usage(sources: Sequence[str], arrived: str | None, *, lost: bool, sending: bool) -> None:
    """Raise `ConfigError` for options that do not go together."""
    if arrived is not None and lost:
        raise ConfigError("--arrived and --lost exclude each other", hint="look at the newest images of the workspace")
    if arrived is not None or lost:
        if sending:
            raise ConfigError("--arrived and --lost send nothing", hint="leave the other options out")
        if len(sources) != 1 or not SHA256.fullmatch(sources[0].lower()):
            raise ConfigError(
                "--arrived and --lost want the SHA256 of one upload", hint="`syncer status` shows what is undecided"
            )
    elif not sources:
        raise ConfigError("there is nothing to upload", hint="for example: syncer upload picture.png --workspace brand")


def _workspace(settings: Settings, wanted: str | None) -> str:
    """Return the id or name of the workspace that is meant. Raises `ConfigError` where that is not clear."""
    if wanted is not None:
        if wanted == "*":
            raise ConfigError("one workspace is wanted", hint="an id, or a name")
        return wanted
    known = [one.name or one.id for one in settings.workspaces]
    if len(known) != 1 or known == ["*"]:
        named = ", ".join(name for name in known if name != "*")
        hint = f"--workspace NAME: {named}" if named else "--workspace ID; `syncer check` shows what can be reached"
        raise ConfigError("it is not said which workspace is meant", hint=hint)
    return settings.workspaces[0].id


@dataclass(frozen=True, slots=True)
class _Item:
    """What a person named: a file, or an address. `source` may be shown: it is no address's query."""

    source: str
    drop: Drop | None = None
    address: str | None = field(default=None, repr=False)


def _items(sources: Sequence[str], *, most: int, private: bool) -> list[_Item]:
    """Look at everything that was named. Raises `ConfigError` with all that is wrong with it."""
    from syncer.inbox.drop import drop_of
    from syncer.inbox.names import printable
    from syncer.operations.upload_address import address_of, source_of

    items: list[_Item] = []
    wrong: dict[str, ConfigError] = {}
    for number, source in enumerate(dict.fromkeys(sources), start=1):
        try:
            if "://" in source:
                address = address_of(source, private=private)
                items.append(_Item(source_of(address), address=address))
            else:
                items.append(_Item(printable(source), drop_of(Path(source), most=most)))
        except ConfigError as error:
            which = f"argument {number}: " if "://" in source else ""  # it may hold a secret, and is not repeated
            wrong[f"{which}{error}"] = error
    if len(wrong) == 1 == len(sources):
        raise next(iter(wrong.values()))
    if wrong:
        problems = (f"{told} → {error.hint}" if error.hint else told for told, error in wrong.items())
        raise ConfigError(f"{len(wrong)} of these cannot be uploaded; nothing was sent", problems=tuple(problems))
    return items


def _send(settings: Settings, asked: str, items: Sequence[_Item], *, dry: bool, again: bool, json: bool) -> int:
    """Upload to the exit code, and tell how it went. Raises what kept it from beginning."""
    from syncer import app
    from syncer.cli.delivering import delivering, summary, tell
    from syncer.cli.running import run
    from syncer.operations.parcels import Uploads
    from syncer.operations.upload import dry_run, upload

    result = Uploads()

    async def work() -> int:
        with delivering(json=json, dry=dry) as watch:
            if dry:
                async with app.looking(settings, os.environ) as looking:
                    await dry_run(looking, _parcels(items, await _one(looking, asked)), watch, result, again=again)
            else:
                async with _opened(settings, asked) as rooms:
                    here = await _one(rooms, asked)
                    await upload(rooms, _parcels(items, here), watch, result, workspaces=[here], again=again)
        return result.exit_code

    started = time.monotonic()
    code, error = 1, None
    try:
        code = run(work())
    except SyncerError as raised:
        code, error = raised.exit_code, raised
    result.seconds = round(time.monotonic() - started, 3)
    tell(result, code, error, dry=dry)
    if json:
        data(summary(result, code, error, dry=dry))
    return code


def _settle(settings: Settings, asked: str, sha256: str, image_id: str | None, *, json: bool) -> int:
    """Settle one undecided upload as a person says; 0 when it is settled so. Raises what keeps it from that."""
    from syncer.cli.delivering import decided, summary, tell_decided
    from syncer.cli.running import run
    from syncer.operations.parcels import Uploads
    from syncer.operations.upload import decide

    result = Uploads()

    async def work() -> int:
        async with _opened(settings, asked) as rooms:
            here = await _one(rooms, asked)
            one = decided(here, await decide(rooms, here.id, sha256, image_id))
            result.run, result.requests = rooms.run, rooms.service.requests
        result.delivered.append(one)
        return tell_decided(one, json=json)

    started = time.monotonic()
    code = run(work())
    result.seconds = round(time.monotonic() - started, 3)
    if json:  # what was asked for is done, also where that is to hold that nothing arrived
        done = {"complete": True, "why": []} if code == 0 else {}
        data(summary(result, code, None, dry=False) | done)
    return code


async def _one(rooms: Looking, asked: str) -> Workspace:
    """Find the workspace that is meant. Raises `ConfigError`."""
    from syncer.operations.backup import chosen

    return (await chosen(rooms, [asked]))[0]


def _parcels(items: Sequence[_Item], workspace: Workspace) -> list[Parcel]:
    from syncer.operations.parcels import Parcel

    return [Parcel(workspace, item.source, drop=item.drop, address=item.address) for item in items]


@asynccontextmanager
async def _opened(settings: Settings, asked: str) -> AsyncIterator[Rooms]:
    """Open the archive; who holds it is waited for, but not for long. Raises `AlreadyRunning` with what to do."""
    from syncer import app
    from syncer.archive.lock import waiting

    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(app.connected(settings, os.environ))

        async def attempt() -> Rooms:
            return await stack.enter_async_context(
                app.opened(settings, os.environ, "upload", make=True, service=service)
            )

        try:
            rooms = await waiting(attempt)
        except AlreadyRunning as error:
            watched = [one.watch for one in settings.workspaces if asked in {one.id, one.name} and one.watch]
            aside = f", or drop the files into {watched[0]}" if watched else ""
            error.hint = f"nothing was sent: run the same again when it has ended{aside}"
            raise
        yield rooms
