"""The commented configuration, held against the settings that there are."""

import re
import tomllib
from pathlib import Path

from syncer.settings import (
    ArchiveSettings,
    DaemonSettings,
    LimitSettings,
    NotifySettings,
    SafetySettings,
    ScheduleSettings,
    ServiceSettings,
    WorkspaceSchedule,
    WorkspaceSettings,
    example,
    load,
)
from syncer.settings.tables import TABLES, WORKSPACE


def test_example_shows_the_defaults(tmp_path: Path) -> None:
    """What the example says of an option is what happens without it."""
    path = tmp_path / "syncer.toml"
    path.write_text(example(), encoding="utf-8")

    settings, warnings = load(path, {})

    assert warnings == ()

    assert settings.archive == ArchiveSettings(Path("/var/lib/syncer/archive"))
    assert settings.limits == LimitSettings()
    assert settings.safety == SafetySettings()
    assert settings.schedule == ScheduleSettings()
    assert settings.daemon == DaemonSettings()
    assert settings.notify == NotifySettings()
    assert settings.workspaces == (WorkspaceSettings("*"),)
    assert settings.service == ServiceSettings(
        client_id="my-client-id", client_secret_file=Path("/etc/syncer/client_secret")
    )


def test_every_value_of_the_example_can_be_used(tmp_path: Path) -> None:
    """Also those that are commented out: whoever takes the mark away gets what the sentence says."""
    path = tmp_path / "syncer.toml"
    live = re.sub(r"^# (\[\[workspaces\]\]|\w+ = .+)$", r"\1", example(), flags=re.MULTILINE)
    path.write_text(re.sub(r"^(client_secret_command|token_file) = .+$", "", live, flags=re.MULTILINE))

    settings, _ = load(path, {})

    assert settings.daemon.socket == Path("/run/syncer/control.sock")
    assert settings.notify.ping_url is not None
    assert settings.notify.webhook_url is not None
    assert settings.notify.command == "/usr/local/bin/tell-the-team --urgent"
    assert settings.workspaces[1].schedule == WorkspaceSchedule("5m", "0 4 * * *")


def test_example_has_every_option_with_a_sentence() -> None:
    """Each option, also one that is commented out, has a value that TOML reads and a sentence above it."""
    lines = example().splitlines()
    table, options = "", {}
    for number, line in enumerate(lines):
        if heading := re.fullmatch(r"(?:# )?\[+(\w+)\]+", line):
            table = heading[1]
        elif option := re.fullmatch(r"(?:# )?((\w+) = .+)", line):
            tomllib.loads(option[1])
            options[f"{table}.{option[2]}"] = re.match(r"# \S+.*[.)]$", lines[number - 1]) is not None

    everything = {f"{name}.{key}" for name, keys in TABLES.items() for key in keys} - {"service.client_secret"}
    in_workspaces = {f"workspaces.{key}" for key in WORKSPACE}
    assert set(options) == everything | in_workspaces
    assert {name for name, explained in options.items() if not explained} - in_workspaces == set()
