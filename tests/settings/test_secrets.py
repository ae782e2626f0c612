"""Where secrets come from, and that they stay there."""

import copy
import json
import os
import pickle
import select
import sys
import time
from dataclasses import asdict
from pathlib import Path

import msgspec
import pytest

from syncer.errors import ConfigError
from syncer.settings import ClientCredentials, Secret, ServiceSettings, StaticToken, credentials

CANARY = "c4n4ry-s3cr3t"


def private(path: Path, content: str | bytes = CANARY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(0o600)
    return path


def refused(service: ServiceSettings, environ: dict[str, str] | None = None, *, seconds: float = 30) -> str:
    """Give the one complaint, after a look that nothing of it or its causes holds the canary."""
    with pytest.raises(ConfigError) as caught:
        credentials(service, {"PATH": os.environ["PATH"], **(environ or {})}, command_seconds=seconds)
    error = caught.value
    assert CANARY not in f"{error} {error.hint} {error.problems} {error.facts}"
    assert error.__cause__ is None or isinstance(error.__cause__, OSError)
    [problem] = error.problems
    return problem


def running(script: str) -> ServiceSettings:
    """Settings whose secret comes from a Python script."""
    return ServiceSettings(client_id="me", client_secret_command=f"{sys.executable} -I -c '{script}'")


# --- the type -----------------------------------------------------------------------------------------


def test_secret_prints_as_three_dots() -> None:
    """Neither a log line nor a traceback nor a format with a width shows it."""
    secret = Secret(CANARY)

    assert {str(secret), repr(secret), f"{secret}", f"{secret!r:>3}".strip(), f"{secret:>40}", "%s" % secret} == {"…"}  # noqa: UP031 - a way to print it
    assert repr([secret]) == "[…]"
    assert repr(ClientCredentials("me", secret)) == "ClientCredentials(client_id='me', secret=…)"
    assert secret.reveal() == CANARY


def test_secrets_compare_by_value() -> None:
    """A renewed secret can be told from the old one."""
    assert Secret("ä") == Secret("ä")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"


def test_secret_is_not_written_down_by_accident() -> None:
    """Pickle, JSON and msgspec refuse it; a copy stays a secret."""
    secret = Secret(CANARY)

    for write in (pickle.dumps, json.dumps, msgspec.json.encode, vars):
        with pytest.raises(TypeError) as caught:
            write(secret)
        assert CANARY not in str(caught.value)
    assert str(asdict(StaticToken(secret))) == "{'token': …}"
    assert copy.copy(secret) == copy.deepcopy(secret) == secret


# --- files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_secret_file_loses_its_line_end(tmp_path: Path, end: str) -> None:
    """Editors end a file with a line break; the secret has none."""
    service = ServiceSettings(client_id="me", client_secret_file=private(tmp_path / "key", CANARY + end))

    assert credentials(service, {}) == ClientCredentials("me", Secret(CANARY))


def test_token_file_is_a_way_of_its_own(tmp_path: Path) -> None:
    """A ready-made token needs no client id."""
    service = ServiceSettings(token_file=private(tmp_path / "token", "ey.abc-_\n"))

    assert credentials(service, {}) == StaticToken(Secret("ey.abc-_"))


def test_secret_of_the_environment_is_taken_as_it_is() -> None:
    """The settings hold it already."""
    service = ServiceSettings(client_id="me", client_secret=Secret(CANARY))

    assert credentials(service, {}) == ClientCredentials("me", Secret(CANARY))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o444])
def test_secret_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The complaint comes with the command that mends it."""
    path = private(tmp_path / "my key")
    path.chmod(mode)

    with pytest.raises(ConfigError) as caught:
        credentials(ServiceSettings(client_id="me", client_secret_file=path), {})

    assert caught.value.problems == (f"service.client_secret_file: {path} is readable by group or others",)
    assert caught.value.hint == f"chmod 600 '{path}'"
    assert caught.value.exit_code == 2


def test_link_to_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The file counts, not the link, also where the link lies in the credentials directory."""
    path = private(tmp_path / "key")
    path.chmod(0o644)
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "client_secret").symlink_to(path)

    assert "readable by group or others" in refused(
        ServiceSettings(client_id="me"), {"CREDENTIALS_DIRECTORY": str(folder)}
    )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "want a secret, and this is empty"),
        (" \n", "want a secret, and this is empty"),
        (f"{CANARY}\n{CANARY}\n", "holds a line break or a control character"),
        (f"{CANARY}\0", "holds a line break or a control character"),
        (f"\ufeff{CANARY}", "holds a line break or a control character"),
        (CANARY.encode() + b"\xff", "not UTF-8 text"),
        (CANARY * 10_000, "too long"),
    ],
)
def test_file_that_holds_no_secret_is_refused(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    """Better a complaint now than a refusal by the service that looks like a wrong secret."""
    path = private(tmp_path / "key", content)

    problem = refused(ServiceSettings(client_id="me", client_secret_file=path))

    assert problem.startswith(f"service.client_secret_file: {path}: ")
    assert complaint in problem


@pytest.mark.parametrize("content", [f"Bearer {CANARY}", f"{CANARY}ä"])
def test_token_that_cannot_stand_in_a_header_is_refused(tmp_path: Path, content: str) -> None:
    """The token goes into a header as it is."""
    path = private(tmp_path / "token", content)

    assert (
        refused(ServiceSettings(token_file=path)) == f"service.token_file: {path} does not hold an access token alone"
    )


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, a pipe that nobody writes to: each is said at once, and nothing waits."""
    os.mkfifo(tmp_path / "pipe", 0o600)

    for name, complaint in {
        "missing": "cannot be read: No such file or directory",
        "": "cannot be read: Is a directory",
        "pipe": "is not a regular file",
    }.items():
        path = tmp_path / name
        assert refused(ServiceSettings(token_file=path)) == f"service.token_file: {path} {complaint}"


# --- the credentials directory ------------------------------------------------------------------------


def test_credentials_directory_is_used_when_nothing_is_configured(tmp_path: Path) -> None:
    """The service manager hands the files over; their mode is its affair."""
    private(tmp_path / "client_id", "me\n")
    private(tmp_path / "client_secret", f"{CANARY}\n").chmod(0o444)

    found = credentials(ServiceSettings(), {"CREDENTIALS_DIRECTORY": str(tmp_path)})

    assert found == ClientCredentials("me", Secret(CANARY))


def test_token_of_the_credentials_directory(tmp_path: Path) -> None:
    """A token alone is enough there, too."""
    private(tmp_path / "token", CANARY)

    assert credentials(ServiceSettings(), {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == StaticToken(Secret(CANARY))


def test_configuration_is_stronger_than_the_credentials_directory(tmp_path: Path) -> None:
    """What the configuration names is used; only the id that it leaves out comes from the directory."""
    folder = tmp_path / "credentials"
    private(folder / "client_id", "handed-over")
    private(folder / "client_secret", "handed-over")
    private(folder / "token", "handed-over")
    environ = {"CREDENTIALS_DIRECTORY": str(folder)}
    path = private(tmp_path / "key")

    own = credentials(ServiceSettings(client_id="me", client_secret_file=path), environ)
    mixed = credentials(ServiceSettings(client_secret_file=path), environ)

    assert own == ClientCredentials("me", Secret(CANARY))
    assert mixed == ClientCredentials("handed-over", Secret(CANARY))


def test_configured_file_in_the_credentials_directory_may_have_any_mode(tmp_path: Path) -> None:
    """The rule is about the directory, not about who named the file."""
    path = private(tmp_path / "other-name")
    path.chmod(0o444)

    found = credentials(ServiceSettings(token_file=path), {"CREDENTIALS_DIRECTORY": str(tmp_path)})

    assert found == StaticToken(Secret(CANARY))


def test_credentials_that_are_missing_or_ambiguous_are_said(tmp_path: Path) -> None:
    """Nothing at all, a secret without its id, a directory with both kinds."""
    key = private(tmp_path / "key")
    both = tmp_path / "both"
    private(both / "client_secret")
    private(both / "token")

    assert refused(ServiceSettings()) == "service: no credentials are configured"
    assert refused(ServiceSettings(client_id="me")) == "service: no credentials are configured"
    assert refused(ServiceSettings(client_secret_file=key)) == "service.client_id: missing"
    assert refused(ServiceSettings(), {"CREDENTIALS_DIRECTORY": str(both)}) == (
        "$CREDENTIALS_DIRECTORY: holds both token and client_secret"
    )


# --- the command --------------------------------------------------------------------------------------


def test_output_of_the_command_is_the_secret() -> None:
    """What it says on stderr is not, and it is given the environment."""
    service = running('import os, sys; print(os.environ["KEY"]); print("noise", file=sys.stderr)')

    assert credentials(service, {"KEY": CANARY}) == ClientCredentials("me", Secret(CANARY))


def test_command_runs_without_a_shell(tmp_path: Path) -> None:
    """Words are split as a shell does, and nothing in them is carried out."""
    service = ServiceSettings(client_id="me", client_secret_command=f"echo '$HOME;' > {tmp_path}/file")

    found = credentials(service, {"PATH": os.environ["PATH"]})

    assert found == ClientCredentials("me", Secret(f"$HOME; > {tmp_path}/file"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("service", "complaint"),
    [
        (running(f'import sys; print("{CANARY}"); sys.exit("{CANARY}")'), "the command failed with exit status 1"),
        (running("import os; os.kill(os.getpid(), 9)"), "the command failed with exit status -9"),
        (running("pass"), "the command's output: want a secret, and this is empty"),
        (
            running("import sys; sys.stdout.buffer.write(bytes([255]))"),
            "the command's output: want a secret, and this is not UTF-8 text",
        ),
        (
            ServiceSettings(client_id="me", client_secret_command=f"/no/such/{CANARY}"),
            "the command cannot be run: No such file or directory",
        ),
    ],
)
def test_command_that_gives_no_secret_is_refused(service: ServiceSettings, complaint: str) -> None:
    """The exit status is shown; output, complaints and arguments are not."""
    assert refused(service) == f"service.client_secret_command: {complaint}"


def test_command_that_takes_too_long_ends_with_its_children(tmp_path: Path) -> None:
    """The whole process group is stopped, so that nothing is left waiting with our pipe in its hand."""
    note = tmp_path / "child"
    script = (
        "import subprocess, time; "
        f'child = subprocess.Popen(["sleep", "300"]); open("{note}", "w").write(str(child.pid)); time.sleep(300)'
    )

    started = time.monotonic()
    problem = refused(running(script), seconds=1)

    assert problem == "service.client_secret_command: the command took longer than 1 s and was stopped"
    assert time.monotonic() - started < 30
    try:
        child = os.pidfd_open(int(note.read_text()))
    except ProcessLookupError:
        return  # it has ended, and somebody has collected it
    with os.fdopen(child):
        assert select.select([child], [], [], 30)[0]  # it has been told to end, and may take a moment to
