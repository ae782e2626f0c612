"""Find the configuration, lay file, environment and command line over each other, and judge the result at once.

A value is repeated in a complaint only where it cannot be a secret: nothing of `[service]` and `[notify]`, nothing
unknown, no line of the file.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, assert_never

from syncer.errors import ConfigError
from syncer.settings.reading import Complaint, Missing, Unfit, Unknown, read
from syncer.settings.tables import (
    TABLES,
    WORKSPACE,
    WORKSPACE_SCHEDULE,
    Settings,
    clashing_credentials,
    clashing_workspaces,
)

COMMANDS = (
    *("demo", "simulate", "init", "check", "backup", "run", "status", "list", "search", "show", "verify", "rebuild"),
    *("upload", "watch", "trigger", "pause", "resume", "adopt"),
)

_PATHS = frozenset({"client_secret_file", "token_file", "ca_file", "path", "watch", "socket"})
_LISTS = frozenset({"service.content_origins", "workspaces"})
_SECRETS = frozenset({"service.client_secret", "notify.ping_url", "notify.webhook_url"})
_MAY_BE_EMPTY = frozenset({"schedule.quick", "schedule.full", "schedule.verify", "schedule.jitter", "daemon.listen"})
_NOT_IN_A_FILE = {
    "client_secret": "not kept in this file; use client_secret_file, client_secret_command or the variable "
    "SYNCER_SERVICE__CLIENT_SECRET",
    "token": "not kept in this file; use token_file",
}


# --- finding and loading ------------------------------------------------------------------------------


def find_config(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Say which file holds the configuration: the one asked for, else the first that exists; None without any."""
    if explicit is None and environ.get("SYNCER_CONFIG"):
        explicit = Path(environ["SYNCER_CONFIG"])
    if explicit is not None:
        if not (cwd / explicit).exists():
            raise ConfigError("the configuration file does not exist", hint="syncer init writes one", file=explicit)
        return cwd / explicit
    personal = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or Path.home()) / ".config")
    for candidate in (cwd / "syncer.toml", personal / "syncer" / "syncer.toml", Path("/etc/syncer/syncer.toml")):
        try:
            if candidate.is_file():
                return candidate
        except OSError as error:  # a folder that is closed to us: the next file would be another configuration
            raise ConfigError("cannot look for the configuration", file=candidate, reason=error.strerror) from error
    return None


def load(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] = {}
) -> tuple[Settings, tuple[str, ...]]:
    """Read the settings and the warnings about them. `overrides` maps dotted names to values; None is "not given".

    A relative path counts from the folder of the file that names it, elsewhere from the current one. `ConfigError`
    lists every problem.
    """
    draft = _Draft()
    if path is not None:
        draft.lay_file(_read(path), path.absolute().parent)
    draft.lay_environment(environ)
    draft.lay_overrides(overrides)
    settings = draft.settle(path)
    if settings is None or draft.problems:
        message = "the configuration cannot be used" if path else "there is no configuration file"
        hint = "" if path else "syncer init writes one; --config and SYNCER_CONFIG name one elsewhere"
        raise ConfigError(message, problems=tuple(draft.problems), hint=hint, file=path)
    return settings, tuple(_unknown_variables(environ))


def example() -> str:
    """Give the commented configuration that `syncer init` writes."""
    installed = resources.files("syncer") / "config" / "syncer.toml"
    if installed.is_file():
        return installed.read_text(encoding="utf-8")
    return (Path(__file__).parents[2] / "config" / "syncer.toml").read_text(encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    # Neither the causes nor all of their words are passed on: they may hold parts of the file.
    try:
        content = path.read_bytes()
        return tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigError("the configuration file cannot be read", file=path, reason=error.strerror) from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError("the configuration file is not UTF-8 text", file=path, line=line) from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and numbers and nesting beyond Python's own bounds
        reason, place = str(error), ""
        if found := re.fullmatch(r"(.*) \(at (.*)\)", reason, re.DOTALL):
            reason, place = found.groups()
        reason = re.sub(r"(['\"]).{3,}\1", "…", reason, flags=re.DOTALL)
        raise ConfigError("the configuration file is not TOML", file=path, at=place or None, reason=reason) from None


# --- one layer over the other -------------------------------------------------------------------------


class _Draft:
    """The layers laid over each other, weakest first: raw values, where each came from, problems so far."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
        self.workspaces: object = None
        self.origins: dict[str, str] = {}
        self.problems: list[str] = []

    def lay_file(self, document: Mapping[str, Any], base: Path) -> None:
        for name, value in document.items():
            if name == "workspaces":
                self._put(name, value, base)
            elif name not in TABLES:
                self.problems.append(_unknown(name))
            elif not isinstance(value, dict):
                self.problems.append(f"{name}: want a table")
            else:
                for key, raw in value.items():
                    if name == "service" and key in _NOT_IN_A_FILE:
                        self.problems.append(f"service.{key}: {_NOT_IN_A_FILE[key]}")
                    else:
                        self._put(f"{name}.{key}", raw, base)

    def lay_environment(self, environ: Mapping[str, str]) -> None:
        for variable, name in _variables().items():
            text = environ.get(variable)
            # An empty variable is one that is not set, but where "" has a meaning: never, none, nowhere.
            if text is None or (not text.strip() and name not in _MAY_BE_EMPTY):
                continue
            self._put(name, text, Path.cwd(), variable)

    def lay_overrides(self, overrides: Mapping[str, object]) -> None:
        for name, value in overrides.items():
            table, _, key = name.partition(".")
            if value is None:
                continue
            if name in _SECRETS:
                self.problems.append(f"{name}: not taken from the command line, which others on this machine can read")
            elif name != "workspaces" and key not in TABLES.get(table, ()):
                self.problems.append(_unknown(name))
            else:
                self._put(name, value, Path.cwd(), "the command line")

    def _put(self, name: str, value: object, base: Path, origin: str = "") -> None:
        table, _, key = name.partition(".")
        self.origins[name] = origin
        if origin and name in _LISTS and isinstance(value, str):
            try:
                value = _listed(value, name)
            except (ValueError, RecursionError):
                self.problems.append(f"{name}: want a list in JSON, or split by commas (from {origin})")
                return
        if name != "workspaces":
            self.tables[table][key] = _absolute(value, base) if key in _PATHS else value
        elif isinstance(value, list | tuple):
            self.workspaces = [
                {key: _absolute(raw, base) if key in _PATHS else raw for key, raw in row.items()}
                if isinstance(row, dict)
                else row
                for row in value
            ]
        else:
            self.workspaces = value

    def settle(self, source: Path | None) -> Settings | None:
        """Judge the values and how they go together; None where that found problems."""
        rows = () if self.workspaces is None else self.workspaces
        settings, complaints = read(Settings, {**self.tables, "workspaces": rows})
        self.problems += [self._line(complaint) for complaint in complaints]
        self.problems += [*clashing_credentials(self.tables["service"]), *clashing_workspaces(rows, self.tables)]
        return settings and replace(settings, source=source)

    def _line(self, complaint: Complaint) -> str:
        """Put one complaint into words."""
        match complaint:
            case Missing(path):
                return f"{path}: missing"
            case Unknown(path):
                return _unknown(path)
            case Unfit(path, want, value):
                want = "want [[workspaces]], a list of tables" if path == "workspaces" else want
                shown = "" if path.startswith(("service.", "notify.")) else f", got {_kind(value)}"
                origin = self.origins.get(path.partition("[")[0])
                return f"{path}: {want}{shown}" + (f" (from {origin})" if origin else "")
            case _:
                assert_never(complaint)


@cache
def _variables() -> dict[str, str]:
    """Map each variable to the setting it stands for."""
    names = [*(f"{table}.{key}" for table, keys in TABLES.items() for key in keys), "workspaces"]
    return {f"SYNCER_{name.replace('.', '__').upper()}": name for name in names}


def _listed(text: str, name: str) -> object:
    """Read one text that holds a list: JSON, or items split by commas, which for workspaces are their ids."""
    if text.lstrip().startswith("["):
        return json.loads(text)
    items = [item.strip() for item in text.split(",") if item.strip()]
    return [{"id": item} for item in items] if name == "workspaces" else items


def _absolute(value: object, base: Path) -> object:
    if not isinstance(value, str | Path) or not str(value).strip():
        return value
    path = Path(value)
    with suppress(RuntimeError):  # no such user: `~name` stays, and is refused as it is not absolute
        path = path.expanduser()
    return path if str(path).startswith("~") else base / path


def _kind(value: object) -> str:
    """Show a plain value, and of any other only its kind: a table may hold what belongs elsewhere."""
    match value:
        case bool():
            return str(value).lower()
        case str() | Path():
            text = str(value)
            return repr(text if len(text) <= 60 else text[:59] + "…")
        case int() if abs(value) >= 10**18:  # thousands of digits would not even print
            return "a number beyond all use"
        case int() | float():
            return str(value)
        case dict():
            return "a table"
        case list() | tuple():
            return "a list"
        case _:
            return "another kind of value"


# --- judgement ----------------------------------------------------------------------------------------


def _unknown(path: str) -> str:
    parent, _, key = path.rpartition(".")
    elsewhere = [f"{table}.{key}" for table, keys in TABLES.items() if key in keys]
    if not parent.startswith("workspaces"):
        known = TABLES.get(parent, (*TABLES, "workspaces"))
    elif parent.endswith(".schedule"):
        known = WORKSPACE_SCHEDULE
    else:
        known = WORKSPACE
        elsewhere = [f"{parent}.schedule.{key}"] if key in WORKSPACE_SCHEDULE else elsewhere
    close = [f"{parent}.{name}".lstrip(".") for name in get_close_matches(key, known, n=1, cutoff=0.7)]
    return f"{path}: not a setting" + "".join(f" (did you mean {name}?)" for name in (elsewhere + close)[:1])


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    known = [*(name.removeprefix("SYNCER_") for name in _variables()), "CONFIG", "SET", "LOG_LEVEL", "LOG_FORMAT", "CI"]
    known += ["STATE", "REASON", "RUN"]  # what the command of [notify] is told
    options = tuple(f"{command.upper()}_" for command in COMMANDS)
    for variable in sorted(environ):
        name = variable.removeprefix("SYNCER_")
        if name == variable or name in known:
            continue
        if name.lower() in WORKSPACE:
            yield f"{variable}: not a variable of syncer (each workspace has its {name.lower()} in a table of its own)"
            continue
        if name.startswith(options):
            continue
        close = get_close_matches(name, known, n=1, cutoff=0.7)
        yield f"{variable}: not a variable of syncer" + "".join(f" (did you mean SYNCER_{match}?)" for match in close)
