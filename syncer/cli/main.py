"""`syncer`: finds the command, runs it, and turns what happens into an exit code.

Commands are imported when they are called, so that `syncer --help` is instant.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Env

from syncer import __version__
from syncer.cli.exit_codes import epilogue
from syncer.errors import ConfigError, SyncerError

app = App(
    name="syncer",
    help="Keep a faithful, verifiable, append-only copy of a team's images on neuroflash.",
    help_format="plaintext",
    version=__version__,
    config=Env("SYNCER_"),
    help_epilogue=epilogue(),
)

COMMANDS = {  # name: (codes beyond 0, 1 and 2, what it is for)
    "demo": ((3, 4, 9, 130, 143), "See it work: no account, nothing but this machine."),
    "simulate": ((), "Run only the simulated service, to try a configuration on."),
    "init": ((), "Write a commented configuration."),
    "check": ((3, 5, 7, 8, 9), "Check configuration, credentials, workspaces, disk and clock."),
    "backup": ((3, 5, 6, 7, 8, 9, 130, 143), "Copy what is new and changed, once."),
    "adopt": ((3, 5, 6, 7, 8, 9, 130, 143), "Back up, using what is in a folder already instead of downloading it."),
    "run": ((5, 6, 9, 130, 143), "Look after the archive by a schedule, until SIGTERM or Ctrl-C: the daemon."),
    "upload": ((3, 5, 6, 7, 8, 9, 130, 143), "Push files to the service, and prove that they are there."),
    "watch": ((5, 6, 9, 130, 143), "Upload what is dropped into the watch folders, and make no backups."),
    "trigger": ((3, 4, 5, 6, 7, 8, 9), "Have the running daemon make a full pass now, or something else."),
    "pause": ((), "Have the running daemon begin nothing more by its schedule."),
    "resume": ((), "Have the paused daemon go on."),
    "status": ((3, 5, 9), "Say what is held, when the last good run was, and what is owed."),
    "list": ((5, 9), "List the images in the archive."),
    "verify": ((3, 4, 5, 6, 7, 8, 9, 130, 143), "Hash everything again: trust only bytes."),
    "rebuild": ((4, 5, 6, 9, 130, 143), "Make the manifest anew, from the archive alone."),
    "show": ((3, 5, 9), "Show all that is kept of one image."),
}
for _place, (_name, (_codes, _help)) in enumerate(COMMANDS.items()):
    app.command(f"syncer.cli.{_name}:{_name}_", name=_name, help=_help, help_epilogue=epilogue(_codes), sort_key=_place)


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[
        Path | None, Parameter(name=["--config", "-c"], env_var="SYNCER_CONFIG", show_env_var=False)
    ] = None,
    override: Annotated[
        list[str] | None, Parameter(name="--set", negative=(), env_var="SYNCER_SET", show_env_var=False)
    ] = None,
    log_level: Annotated[str | None, Parameter(env_var="SYNCER_LOG_LEVEL", show_env_var=False)] = None,
) -> int:
    """Run a command.

    Parameters
    ----------
    tokens
        The command and its own options.
    config
        The configuration to use [env var: SYNCER_CONFIG]; else ./syncer.toml, the user's, or /etc/syncer/syncer.toml.
    override
        Override one setting, as KEY=VALUE; may be given several times [env var: SYNCER_SET].
    log_level
        How much to log: debug, info, warning, error [env var: SYNCER_LOG_LEVEL].
    """
    from syncer.cli.invocation import Invocation, current, overrides

    current.set(Invocation(config, overrides(override or []), log_level))
    code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command line and exit."""
    gc.set_threshold(50_000)  # what is imported stays: to look for what of it may go took a tenth of the start
    # Some service managers start with these closed, and a terminal may lack a prompt's letters: neither is an error.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115  a device, for as long as we live
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line to its exit code; nothing is raised."""
    try:
        code = app.meta(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except CycloptsError as error:
        return _complain(ConfigError(str(error), hint="syncer --help"), arguments)
    except SyncerError as error:
        return _complain(error, arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `syncer list | head`: the reader has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EIO, errno.EBADF}:
            return _bug(error, arguments)
        return _complain(ConfigError(f"cannot write the output: {error.strerror}", hint="see where stdout goes"), [])
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0
    except Exception as error:  # the last line of defence: a bug, told as one
        return _bug(error, arguments)


def _complain(error: SyncerError, arguments: list[str]) -> int:
    from syncer.cli.output import complain

    complain(error)
    _end_data(str(error), error.exit_code, arguments)
    return error.exit_code


def _end_data(error: str, code: int, arguments: list[str]) -> None:
    """Write the summary line, if JSON was asked for: whoever reads the lines waits for the last one."""
    from syncer.cli.output import data

    command = next((word for word in arguments if word in COMMANDS), "")
    twin = os.environ.get(f"SYNCER_{command.upper()}_JSON", "").lower() in {"true", "t", "yes", "y", "on", "1"}
    if twin or "--json" in arguments:
        told = {"complete": False, "error": error, "why": [error], "exit_code": code}
        data({"type": "summary", "command": command, **told})


def _bug(error: Exception, arguments: list[str]) -> int:
    import traceback

    from rich.markup import escape

    from syncer.cli.output import say

    inner: BaseException = error
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    if isinstance(inner, SyncerError):
        return _complain(inner, arguments)
    say(escape("".join(traceback.format_exception(error))))
    say(f"[bold red]syncer {__version__}: an error that we did not expect, which is a bug of ours.[/]")
    say("  [bold]→[/] Nothing that was kept is harmed by it. Please report it with the lines above.")
    _end_data(f"{type(error).__name__}: a bug", 1, arguments)
    return 1
