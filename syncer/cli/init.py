"""`syncer init`: write a commented configuration."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from syncer.cli.output import clean, say
from syncer.errors import ConfigError


def init_(
    path: Path | None = None,
    *,
    stdout: Annotated[bool, Parameter(negative=())] = False,
    force: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Write a configuration in which every option is explained, for you to fill in.

    Parameters
    ----------
    path
        Where to write it; ./syncer.toml, or what --config names, when left out.
    stdout
        Write it to stdout instead.
    force
        Overwrite a file that is there.
    """
    from syncer.cli.invocation import current
    from syncer.settings import example

    if stdout:
        sys.stdout.write(example())
        return 0
    chosen = (path or current.get().config or Path("syncer.toml")).expanduser()
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(chosen, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(example())
    except FileExistsError:
        raise ConfigError(
            f"{chosen} is there already", hint="name another file, or overwrite it with --force"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot write {chosen}: {reason}", hint="name a folder that you may write to") from None
    say(f"Wrote [bold]{clean(str(chosen))}[/].")
    say("Next: fill in [bold]service.client_id[/], put the secret into a file that only you can read (chmod 600),")
    say("set [bold]archive.path[/] and the workspaces, then: [bold]syncer check[/]")
    return 0
