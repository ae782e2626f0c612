"""From a file, the environment and the command line to settings."""

import json
import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from settings_parts import CANARY, ENOUGH, assert_silent, loaded, refused, written

from syncer.errors import ConfigError
from syncer.settings import (
    ArchiveSettings,
    DaemonSettings,
    LimitSettings,
    NotifySettings,
    ScheduleSettings,
    Secret,
    Settings,
    WorkspaceSchedule,
    WorkspaceSettings,
    load,
)

# --- layers -------------------------------------------------------------------------------------------


def test_file_alone_is_enough(tmp_path: Path) -> None:
    """What the file leaves out has its default, and paths count from the file's folder."""
    settings = loaded(tmp_path)

    assert settings == Settings(
        archive=ArchiveSettings(tmp_path / "kept"),
        workspaces=(WorkspaceSettings("one"),),
        source=tmp_path / "syncer.toml",
    )


def test_command_line_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    """Each layer is stronger than the next, option by option."""
    text = ENOUGH + "[limits]\nuploads = 5\nretries = 6\ndownloads = 7\n"
    environ = {"SYNCER_LIMITS__RETRIES": "60", "SYNCER_LIMITS__DOWNLOADS": "70"}

    limits = loaded(tmp_path, text, environ, limits__downloads=700, limits__uploads=None).limits

    assert limits == LimitSettings(uploads=5, retries=60, downloads=700)


def test_command_line_gives_text_or_values(tmp_path: Path) -> None:
    """Text is read as a variable's would be, lists included; None is an option that was not given."""
    values = {"limits.uploads": None, "limits.retry_seconds": "5m", "workspaces": "two,three", "archive.reserve": 5}

    settings, _ = load(written(tmp_path, ENOUGH), {"SYNCER_WORKSPACES": "four"}, values)

    assert settings.limits == LimitSettings(retry_seconds=300)
    assert settings.archive.reserve == 5
    assert settings.workspaces == (WorkspaceSettings("two"), WorkspaceSettings("three"))


def test_environment_alone_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container needs no file: every option has a variable, and paths count from the current folder."""
    monkeypatch.chdir(tmp_path)
    settings, warnings = load(None, {"SYNCER_ARCHIVE__PATH": "kept", "SYNCER_WORKSPACES": "one, *"})

    assert settings.archive.path == tmp_path / "kept"
    assert settings.workspaces == (WorkspaceSettings("one"), WorkspaceSettings("*"))
    assert settings.source is None
    assert warnings == ()


def test_every_value_of_the_environment_is_read_as_its_kind(tmp_path: Path) -> None:
    """Text from a variable becomes a size, a duration, a truth, a list as the option wants it."""
    rows = [{"id": "two", "name": "brand", "watch": "/srv/drop", "schedule": {"full": "1d"}}]
    environ = {
        "SYNCER_SERVICE__URL": "http://127.0.0.1:1/api/",
        "SYNCER_SERVICE__CONTENT_ORIGINS": "https://a.example,https://b.example/",
        "SYNCER_SERVICE__CLIENT_SECRET": f"{CANARY}\n",
        "SYNCER_ARCHIVE__RESERVE": "10 MB",
        "SYNCER_ARCHIVE__SIDECARS": "false",
        "SYNCER_LIMITS__REQUESTS_PER_SECOND": "2.5",
        "SYNCER_LIMITS__STALL_SECONDS": "2m",
        "SYNCER_SCHEDULE__QUICK": "",
        "SYNCER_SCHEDULE__JITTER": "1m",
        "SYNCER_SCHEDULE__VERIFY_PARTS": "7",
        "SYNCER_DAEMON__LISTEN": "[::1]:0",
        "SYNCER_DAEMON__SOCKET": "/run/me.sock",
        "SYNCER_NOTIFY__PING_URL": f"https://hc.example/{CANARY}",
        "SYNCER_NOTIFY__COMMAND": "tell 'the team'",
        "SYNCER_WORKSPACES": json.dumps(rows),
    }

    settings = loaded(tmp_path, ENOUGH, environ)

    assert settings.service.url == "http://127.0.0.1:1/api"
    assert settings.service.content_origins == ("https://a.example", "https://b.example")
    assert settings.service.client_secret is not None
    assert settings.service.client_secret.reveal() == CANARY
    assert settings.archive == ArchiveSettings(tmp_path / "kept", 10_000_000, sidecars=False)
    assert settings.limits == LimitSettings(requests_per_second=2.5, stall_seconds=120)
    assert settings.schedule == ScheduleSettings(quick="", jitter=60, verify_parts=7)
    assert settings.daemon == DaemonSettings(("::1", 0), Path("/run/me.sock"))
    assert settings.notify == NotifySettings(ping_url=Secret(f"https://hc.example/{CANARY}"), command="tell 'the team'")
    assert settings.workspaces == (WorkspaceSettings("two", "brand", Path("/srv/drop"), WorkspaceSchedule(full="1d")),)


def test_empty_variable_is_one_that_is_not_set(tmp_path: Path) -> None:
    """Compose files hand over `X=` for what nobody has set; it counts only where "" has a meaning of its own."""
    environ = {
        "SYNCER_LIMITS__DOWNLOADS": "",
        "SYNCER_SERVICE__CLIENT_ID": " ",
        "SYNCER_SCHEDULE__FULL": "",
        "SYNCER_SCHEDULE__JITTER": "",
        "SYNCER_SCHEDULE__VERIFY_PARTS": "",
        "SYNCER_DAEMON__LISTEN": "",
        "SYNCER_DAEMON__SOCKET": "",
        "SYNCER_NOTIFY__PING_URL": "",
    }

    settings = loaded(tmp_path, ENOUGH, environ)

    assert settings.limits == LimitSettings()
    assert settings.service.client_id is None
    assert settings.schedule == ScheduleSettings(full="", jitter=0)
    assert settings.daemon == DaemonSettings(listen=None)
    assert settings.notify == NotifySettings()


def test_workspace_may_have_schedules_of_its_own(tmp_path: Path) -> None:
    """An inline table; what it leaves out is inherited, "" is never, and days become names as elsewhere."""
    text = """
        [archive]
        path = "kept"
        [[workspaces]]
        id = "one"
        schedule = { quick = "5m", full = "0 4 * * 0" }
        [[workspaces]]
        id = "two"
        schedule = { quick = "" }
        [[workspaces]]
        id = "*"
        schedule = { full = "1d" }
    """

    assert [row.schedule for row in loaded(tmp_path, text).workspaces] == [
        WorkspaceSchedule("5m", "0 4 * * sun"),
        WorkspaceSchedule(quick=""),
        WorkspaceSchedule(full="1d"),
    ]


def test_socket_counts_from_the_folder_of_the_file(tmp_path: Path) -> None:
    """As every path does."""
    assert loaded(tmp_path, ENOUGH + "[daemon]\nsocket = 's'\n").daemon.socket == tmp_path / "s"


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the home folder; the home of nobody is a mistake, not a folder called `~nobody…`."""
    monkeypatch.setenv("HOME", "/home/me")

    assert loaded(tmp_path, ENOUGH, archive__path="~/kept").archive.path == Path("/home/me/kept")
    assert refused(tmp_path, ENOUGH, archive__path="~no-such-user/kept") == (
        "archive.path: want a path; there is no such user as the one after ~, got '~no-such-user/kept' "
        "(from the command line)",
    )


def test_settings_are_frozen_and_show_no_secret(tmp_path: Path) -> None:
    """They may be printed, and can neither be changed nor written down with the secret."""
    notify = f"[notify]\nping_url = 'https://me:{CANARY}@hc.example'\nwebhook_url = 'https://hook.example/?{CANARY}'\n"
    settings = loaded(tmp_path, ENOUGH + notify, {"SYNCER_SERVICE__CLIENT_SECRET": CANARY})

    assert CANARY not in f"{settings} {settings!r}"
    with pytest.raises(FrozenInstanceError):
        settings.limits.downloads = 1  # type: ignore[misc]  # the point of the test
    with pytest.raises(TypeError):
        pickle.dumps(settings)


# --- the file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"[service]\nclient_secret = {CANARY}", "line 2, column 17"),
        (f"[service]\nclient_secret = '{CANARY}", "at="),
        (f"[service]\n{CANARY} {CANARY}", "line 2"),
        (f"['{CANARY}']\n['{CANARY}']", "line 2"),
        (f"x = {{ '{CANARY}' = 1, '{CANARY}' = 2 }}", "line 1"),
        (f"x = {'[' * 5000}'{CANARY}'", "not TOML"),
        (f"x = {'9' * 5000}", "not TOML"),
    ],
)
def test_broken_toml_says_where_and_shows_no_line(tmp_path: Path, text: str, place: str) -> None:
    """The line may hold a secret, so its place has to do."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)

    assert place in str(caught.value)
    assert str(tmp_path / "syncer.toml") in str(caught.value)
    assert_silent(caught.value)


def test_file_in_another_encoding_says_which_line(tmp_path: Path) -> None:
    """A Latin-1 umlaut is named by its line, and nothing of it is shown."""
    path = tmp_path / "syncer.toml"
    path.write_bytes(f"[service]\n# f\xfcr {CANARY}\n".encode("latin-1"))

    with pytest.raises(ConfigError, match=r"not UTF-8 text .*line=2") as caught:
        load(path, {})
    assert_silent(caught.value)


def test_unreadable_file_is_a_config_error(tmp_path: Path) -> None:
    """A folder in its place says so in the system's words."""
    with pytest.raises(ConfigError, match=r"cannot be read .*reason=Is a directory"):
        load(tmp_path, {})


def test_without_any_configuration_init_is_the_hint() -> None:
    """The first thing that a new user sees says what to type next."""
    with pytest.raises(ConfigError, match="there is no configuration file") as caught:
        load(None, {})

    assert "syncer init" in caught.value.hint
    assert caught.value.exit_code == 2


@given(st.binary(max_size=60) | st.text(alphabet="[]{}=.'\"\n ab1#servicewokpa", max_size=60).map(str.encode))
def test_no_file_makes_another_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever the file holds, it is settings or a ConfigError."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):  # no short file names an archive and a workspace
        load(path, {})
