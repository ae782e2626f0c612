"""Hold secrets so that they do not slip out, and fetch the credentials from where the settings say they are.

No message raised here repeats what a file, a command or a variable held. What the credentials are good for, and how
long, is the service room's affair.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import shlex
import signal
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Never

from syncer.errors import ConfigError
from syncer.settings import values

if TYPE_CHECKING:
    from syncer.settings.tables import ServiceSettings

_LONGEST = 64 * 1024


class Secret:
    """A text that prints as `…`, compares by value, and neither pickles nor serialises. `reveal` gives it away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "…"

    def __format__(self, spec: str) -> str:
        return "…"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self  # so that dataclasses.asdict still works, and still prints "…"

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("a secret is not written down")


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """What a fresh access token is asked with."""

    client_id: str
    secret: Secret


@dataclass(frozen=True, slots=True)
class StaticToken:
    """A ready-made access token, which cannot be renewed."""

    token: Secret


def secret(value: object) -> Secret:
    """Read a secret from text as files and commands hold it, with a line end; `ValueError` where it cannot be one."""
    if not isinstance(value, str):
        raise ValueError("want text")
    text = value.rstrip("\r\n")
    if not text.strip():
        raise ValueError("want a secret, and this is empty")
    if len(text) > _LONGEST:
        raise ValueError("want a secret, and this is too long for one")
    if not text.isprintable():  # also the byte order mark that some editors put first
        raise ValueError("want a secret in one line, and this holds a line break or a control character")
    return Secret(text)


def secret_address(value: object) -> Secret:
    """Read an address that whoever knows it can use; `ValueError` where it is none, or would travel in the clear."""
    return Secret(values.notice_address(value))


def credentials(
    service: ServiceSettings, environ: Mapping[str, str], *, command_seconds: float = 30.0
) -> ClientCredentials | StaticToken:
    """Fetch the credentials: from where the settings say, else from `$CREDENTIALS_DIRECTORY`.

    Reads files and may run a command for up to `command_seconds`, so call it from a thread where a loop is running.
    `ConfigError` where there are none, or where they cannot be used.
    """
    folder = Path(environ["CREDENTIALS_DIRECTORY"]) if environ.get("CREDENTIALS_DIRECTORY") else None
    if service.token_file is not None:
        return _token("service.token_file", service.token_file, folder)
    if service.client_secret is not None:
        key = service.client_secret
    elif service.client_secret_file is not None:
        key = _from_file("service.client_secret_file", service.client_secret_file, folder)
    elif service.client_secret_command is not None:
        key = _from_command(service.client_secret_command, environ, command_seconds)
    else:
        token_file, key_file = _handed_over(folder, "token"), _handed_over(folder, "client_secret")
        if token_file and key_file:
            raise _unusable("$CREDENTIALS_DIRECTORY", "holds both token and client_secret", "remove one of them")
        if token_file:
            return _token("$CREDENTIALS_DIRECTORY/token", token_file, folder)
        if key_file is None:
            raise _unusable("service", "no credentials are configured", "set client_secret_file, or token_file")
        key = _from_file("$CREDENTIALS_DIRECTORY/client_secret", key_file, folder)
    return ClientCredentials(_client_id(service.client_id, folder), key)


def _token(name: str, path: Path, folder: Path | None) -> StaticToken:
    token = _from_file(name, path, folder)
    if not token.reveal().isascii() or " " in token.reveal():  # it goes into a header as it is
        raise _unusable(name, f"{path} does not hold an access token alone", "put it there without 'Bearer' or spaces")
    return StaticToken(token)


def _client_id(configured: str | None, folder: Path | None) -> str:
    if configured is not None:
        return configured
    if path := _handed_over(folder, "client_id"):
        return _from_file("$CREDENTIALS_DIRECTORY/client_id", path, folder).reveal()
    raise _unusable("service.client_id", "missing", "every client secret belongs to a client id")


def _handed_over(folder: Path | None, name: str) -> Path | None:
    return folder / name if folder is not None and os.path.lexists(folder / name) else None


def _from_file(name: str, path: Path, folder: Path | None) -> Secret:
    try:
        # Not to wait for the other end of a pipe. The mode is asked of what was opened, not of what a name means later.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _unusable(name, f"{path} is not a regular file")
            if status.st_mode & (stat.S_IRGRP | stat.S_IROTH) and not _lies_in(path, folder):
                raise _unusable(name, f"{path} is readable by group or others", f"chmod 600 {shlex.quote(str(path))}")
            content = file.read(_LONGEST + 3)
    except OSError as error:
        raise _unusable(name, f"{path} cannot be read: {error.strerror}") from error
    return _checked(name, content, f"{path}: ")


def _lies_in(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.resolve().is_relative_to(folder.resolve())


def _from_command(line: str, environ: Mapping[str, str], limit: float) -> Secret:
    """Run the command without a shell. Its arguments and what it complains of may hold secrets: neither is shown."""
    name = "service.client_secret_command"
    try:
        process = subprocess.Popen(  # noqa: S603 - the person's own configuration names the command
            shlex.split(line),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            start_new_session=True,  # a group of its own, so that its children end with it
        )
    except OSError as error:
        raise _unusable(name, f"the command cannot be run: {error.strerror}") from error
    with process:
        try:
            content, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            # The cause would carry the command line and the output so far.
            raise _unusable(name, f"the command took longer than {limit:g} s and was stopped") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise _unusable(name, f"the command failed with exit status {process.returncode}", "run it by hand")
    return _checked(name, content, "the command's output: ")


def _checked(name: str, content: bytes, what: str) -> Secret:
    try:
        return secret(content.decode())
    except UnicodeDecodeError:  # it carries the bytes: no cause, here and below
        raise _unusable(name, f"{what}want a secret, and this is not UTF-8 text") from None
    except ValueError as error:
        raise _unusable(name, f"{what}{error}") from None


def _unusable(name: str, problem: str, hint: str = "") -> ConfigError:
    return ConfigError("the credentials cannot be used", problems=(f"{name}: {problem}",), hint=hint)
