"""`syncer check`: one line a thing; for each kind of failure its own words, a way out, and the backup's exit code."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cli_parts import Ran, Syncer
from support import configure

from syncer.archive.lock import held
from syncer.simulator import faults
from syncer.simulator.corpus import CLOSED
from syncer.simulator.server import Simulator

NAMES = ("configuration", "sqlite", "archive", "disk", "lock", "service", "workspace", "clock")


def failures(ran: Ran) -> dict[str, dict[str, object]]:
    return {line["name"]: line for line in ran.lines if not line["ok"]}


def test_all_is_well(syncer: Syncer, config: Path):
    """Each thing has its line on stdout, nothing is written to the disk, and the exit code is 0."""
    before = set(config.parent.rglob("*"))

    ran = syncer("check")

    assert ran.code == 0
    told = [line.removeprefix("✓ ").split(":")[0].split()[0] for line in ran.out.splitlines()]
    assert tuple(told) == NAMES
    assert set(config.parent.rglob("*")) == before


def test_json_says_the_same_to_programs(syncer: Syncer, config: Path):
    """A line a check, then the summary."""
    ran = syncer("check", "--json")

    assert all(line["type"] == "check" and line["ok"] for line in ran.lines)
    assert [line["name"].split()[0] for line in ran.lines] == list(NAMES)
    assert ran.summary == {"type": "summary", "command": "check", "checks": 8, "failed": 0, "exit_code": 0}


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_wrong_credentials(syncer: Syncer, config: Path):
    """Exit code 7."""
    secret = config.parent / "wrong"
    secret.write_text("not-the-secret")
    secret.chmod(0o600)

    ran = syncer("check", "--json", "--set", f"service.client_secret_file={secret}")

    assert ran.code == 7
    assert "wrong credentials" in str(failures(ran)["credentials"]["detail"])


def test_a_missing_secret(syncer: Syncer, config: Path):
    """Exit code 2, as for any other mistake in the configuration; the machine is looked at all the same."""
    (config.parent / "client_secret").unlink()

    ran = syncer("check", "--json")

    assert ran.code == 2
    assert "client_secret" in str(failures(ran)["credentials"]["detail"])
    assert "disk" in {line["name"] for line in ran.lines}


def test_a_configuration_that_cannot_be_used(syncer: Syncer, config: Path):
    """Every problem at once, with its path; nothing is asked."""
    ran = syncer("check", "--set", "limits.downloads=many", "--set", "limits.dowloads=1")

    assert ran.code == 2
    assert "limits.downloads: " in ran.err
    assert "limits.dowloads: " in ran.err
    assert ran.out == ""


def test_no_route(syncer: Syncer, config: Path, closed_port: int):
    """Exit code 8, told apart from a service that answers wrongly."""
    ran = syncer("check", "--json", "--set", f"service.token_url=http://127.0.0.1:{closed_port}/token")

    assert ran.code == 8
    assert "no connection can be made" in str(failures(ran)["service"]["detail"])


def test_no_tls(syncer: Syncer, sim: Simulator, config: Path):
    """Exit code 8; the secret is not sent in the clear instead."""
    ran = syncer("check", "--json", "--set", f"service.token_url={sim.token_url.replace('http:', 'https:')}")

    assert ran.code == 8
    assert "TLS" in str(failures(ran)["service"]["detail"])
    assert sim.counts["token"] == 0


def test_a_wrong_url(syncer: Syncer, sim: Simulator, config: Path):
    """Exit code 8: somebody answers there, but not the service."""
    ran = syncer("check", "--json", "--set", f"service.url={sim.url}/v9")

    assert ran.code == 8
    assert "wrong URL" in str(failures(ran)["service"]["detail"])
    assert "service.url" in str(failures(ran)["service"]["hint"])


def test_a_service_that_fails(syncer: Syncer, sim: Simulator, config: Path):
    """Exit code 8, after no more than one more try: a person is waiting."""
    sim.faults.on("workspaces", faults.status(500))

    ran = syncer("check", "--json", "--set", "limits.retries=9")

    assert ran.code == 8
    assert sim.counts["workspaces"] == 2


@pytest.mark.parametrize("workspace", [CLOSED, "no-such-workspace"])
def test_a_workspace_without_access(syncer: Syncer, sim: Simulator, tmp_path: Path, workspace: str):
    """Exit code 3: the others can be backed up, and are shown as readable."""
    open_one = next(iter(sim.workspaces))
    configure(sim, tmp_path, [open_one, workspace])

    ran = syncer("check", "--json")

    assert ran.code == 3
    assert list(failures(ran)) == [f"workspace {workspace}"]
    assert "access" in str(failures(ran)[f"workspace {workspace}"]["detail"])


def test_the_star_shows_what_can_be_reached(syncer: Syncer, sim: Simulator, tmp_path: Path):
    """Each by its name."""
    configure(sim, tmp_path, ["*"])

    ran = syncer("check", "--json")

    assert ran.code == 0
    names = [line["name"] for line in ran.lines if line["name"].startswith("workspace ")]
    assert names == [f"workspace {shelf.name}" for shelf in sim.workspaces.values() if shelf.accessible]


def test_a_clock_that_is_wrong(syncer: Syncer, sim: Simulator, config: Path):
    """Exit code 3: tokens and signed links would be refused."""
    sim.faults.on("*", faults.headers({"Date": "Sat, 01 Jan 2000 00:00:00 GMT"}))

    ran = syncer("check", "--json")

    assert ran.code == 3
    assert "ahead of the service's" in str(failures(ran)["clock"]["detail"])


def no_disk(config: Path) -> list[str]:
    return ["--set", "archive.reserve=1000000GiB"]


def file_in_the_way(config: Path) -> list[str]:
    (config.parent / "archive").write_text("a file, not a folder")
    return []


def no_marker(config: Path) -> list[str]:
    (config.parent / "archive").mkdir()
    (config.parent / "archive" / "manifest.db").write_text("")
    return []


@pytest.mark.parametrize(
    ("spoil", "name", "code"), [(no_disk, "disk", 9), (file_in_the_way, "archive", 9), (no_marker, "archive", 5)]
)
def test_an_archive_that_cannot_be_used(
    syncer: Syncer, config: Path, spoil: Callable[[Path], list[str]], name: str, code: int
):
    """The code is a backup's, and the service is looked at all the same."""
    ran = syncer("check", "--json", *spoil(config))

    assert ran.code == code
    assert list(failures(ran)) == [name]
    assert failures(ran)[name]["hint"]
    assert "clock" in {line["name"] for line in ran.lines}


def test_a_failure_says_what_to_do(syncer: Syncer, config: Path):
    """To people: below its line."""
    ran = syncer("check", *no_disk(config))

    line, hint = next(
        (one, following)
        for one, following in zip(ran.out.splitlines(), ran.out.splitlines()[1:], strict=False)
        if one.startswith("✗")
    )
    assert "disk" in line
    assert "→ make room" in hint


def test_a_running_backup_is_shown(syncer: Syncer, config: Path):
    """It is no failure: checking beside a running syncer is what a worried person does."""
    staging = config.parent / "archive" / ".staging"
    staging.mkdir(parents=True)
    with held(staging / "lock", command="backup", since="2026-11-22T00:00:00Z"):
        ran = syncer("check", "--json")

    assert ran.code == 0
    (line,) = (line for line in ran.lines if line["name"] == "lock")
    assert "a running syncer holds the archive" in line["detail"]
