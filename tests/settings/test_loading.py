"""From a file, the environment and the command line to settings, or to all the complaints at once."""

import json
import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.errors import ConfigError
from syncer.settings import (
    ArchiveSettings,
    LimitSettings,
    Settings,
    WorkspaceSettings,
    load,
)

CANARY = "c4n4ry-s3cr3t"
WANT_SCHEDULE = 'want a cron line of five fields such as "0 3 * * *", an interval from "1s" up, or ""'
WANT_WORKSPACES = 'workspaces: missing; name at least one, or "*" for every one that the credentials can reach'
ENOUGH = '[archive]\npath = "kept"\n[[workspaces]]\nid = "one"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "syncer.toml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, text: str = ENOUGH, environ: dict[str, str] | None = None, **overrides: object) -> Settings:
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    return load(written(folder, text), environ or {}, named)[0]


def refused(folder: Path, text: str, environ: dict[str, str] | None = None, **overrides: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, environ, **overrides)
    assert_silent(caught.value)
    return caught.value.problems


def assert_silent(error: ConfigError) -> None:
    """Nothing that a traceback or a log could print of the error holds the canary."""
    assert CANARY not in f"{error} {error.hint} {error.problems} {error.facts}"
    cause = error.__cause__
    assert cause is None or isinstance(cause, OSError)


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
    rows = [{"id": "two", "name": "brand", "watch": "/srv/drop"}]
    environ = {
        "SYNCER_SERVICE__URL": "http://127.0.0.1:1/api/",
        "SYNCER_SERVICE__CONTENT_ORIGINS": "https://a.example,https://b.example/",
        "SYNCER_SERVICE__CLIENT_SECRET": f"{CANARY}\n",
        "SYNCER_ARCHIVE__RESERVE": "10 MB",
        "SYNCER_ARCHIVE__SIDECARS": "false",
        "SYNCER_LIMITS__REQUESTS_PER_SECOND": "2.5",
        "SYNCER_LIMITS__STALL_SECONDS": "2m",
        "SYNCER_SCHEDULE__QUICK": "",
        "SYNCER_WORKSPACES": json.dumps(rows),
    }

    settings = loaded(tmp_path, ENOUGH, environ)

    assert settings.service.url == "http://127.0.0.1:1/api"
    assert settings.service.content_origins == ("https://a.example", "https://b.example")
    assert settings.service.client_secret is not None
    assert settings.service.client_secret.reveal() == CANARY
    assert settings.archive == ArchiveSettings(tmp_path / "kept", 10_000_000, sidecars=False)
    assert settings.limits == LimitSettings(requests_per_second=2.5, stall_seconds=120)
    assert settings.schedule.quick == ""
    assert settings.workspaces == (WorkspaceSettings("two", "brand", Path("/srv/drop")),)


def test_empty_variable_is_one_that_is_not_set(tmp_path: Path) -> None:
    """Compose files hand over `X=` for what nobody has set; only a schedule can be empty."""
    environ = {"SYNCER_LIMITS__DOWNLOADS": "", "SYNCER_SERVICE__CLIENT_ID": " ", "SYNCER_SCHEDULE__FULL": ""}

    settings = loaded(tmp_path, ENOUGH, environ)

    assert settings.limits == LimitSettings()
    assert settings.service.client_id is None
    assert settings.schedule.full == ""


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
    settings = loaded(tmp_path, ENOUGH, {"SYNCER_SERVICE__CLIENT_SECRET": CANARY})

    assert CANARY not in f"{settings} {settings!r}"
    with pytest.raises(FrozenInstanceError):
        settings.limits.downloads = 1  # type: ignore[misc]  # the point of the test
    with pytest.raises(TypeError):
        pickle.dumps(settings)


# --- complaints ---------------------------------------------------------------------------------------


def test_all_problems_come_at_once_each_with_its_path(tmp_path: Path) -> None:
    """One reading shows everything that is to be mended, layer by layer."""
    text = """
        [servise]
        [service]
        url = "http://example.com"
        [limits]
        dowloads = 3
        downloads = "many"
        [safety]
        max_gone_percent = 101
        [[workspaces]]
        id = "one"
        nmae = "brand"
        [[workspaces]]
        id = "one"
    """

    assert refused(tmp_path, text, {"SYNCER_LIMITS__UPLOADS": "0"}) == (
        "servise: not a setting (did you mean service?)",
        "archive.path: missing",
        "workspaces[0].nmae: not a setting (did you mean workspaces[0].name?)",
        "service.url: want https: over http the credentials would travel in the clear",
        "limits.downloads: want a whole number above 0, got 'many'",
        "limits.uploads: want a whole number above 0, got '0' (from SYNCER_LIMITS__UPLOADS)",
        "limits.dowloads: not a setting (did you mean limits.downloads?)",
        "safety.max_gone_percent: want a number from 0 to 100, got 101",
        "workspaces[1].id: 'one' is workspaces[0].id already",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[limits]\ndownloads = 0", "limits.downloads: want a whole number above 0, got 0"),
        ("[limits]\ndownloads = true", "limits.downloads: want a whole number above 0, got true"),
        ("[limits]\ndownloads = 1.5", "limits.downloads: want a whole number above 0, got 1.5"),
        ("[limits]\ndownloads = []", "limits.downloads: want a whole number above 0, got a list"),
        ("[limits]\nretries = -1", "limits.retries: want a whole number, 0 or more, got -1"),
        ("[limits]\nretry_seconds = 0", "limits.retry_seconds: want a duration above 0, got 0"),
        (
            "[limits]\nstall_seconds = '1y'",
            "limits.stall_seconds: want a duration such as 90s, 15m, 26h or 1d, got '1y'",
        ),
        ("[limits]\nrequests_per_second = inf", "limits.requests_per_second: want a number, 0 or more, got inf"),
        ("[limits]\nrequests_per_second = nan", "limits.requests_per_second: want a number, 0 or more, got nan"),
        ("[limits]\nimage_bytes = '0'", "limits.image_bytes: want a size above 0, got '0'"),
        ("[limits]\nimage_bytes = 'big'", "limits.image_bytes: want a size such as 500k, 256MiB or 1GiB, got 'big'"),
        (
            "[safety]\nmax_gone_items = 2020-01-01",
            "safety.max_gone_items: want a whole number, 0 or more, got another kind of value",
        ),
        (
            f"[limits]\nrequests_per_second = 0x{'f' * 9000}",
            "limits.requests_per_second: want a number, 0 or more, got a number beyond all use",
        ),
        ("[schedule]\nfull = 'daily'", f"schedule.full: {WANT_SCHEDULE}, got 'daily'"),
        (
            "[service]\ncontent_origins = ['https://a.example', 5]",
            "service.content_origins[1]: want an address such as https://host/path",
        ),
        ("[service]\ncontent_origins = 'https://a.example'", "service.content_origins: want a list"),
        ("[service]\nca_file = ''", "service.ca_file: want a path"),
        (
            "[service]\nclient_secret_command = 'pass \"open'",
            "service.client_secret_command: want a command line; a quotation mark is left open",
        ),
        ("[limits]\ntimeout = 5", "limits.timeout: not a setting"),
        ("[limits]\nreserve = 5", "limits.reserve: not a setting (did you mean archive.reserve?)"),
        ("[source]", "source: not a setting"),
        ("[[workspaces]]\nid = ''", "workspaces[1].id: want one line of text without spaces around it, got ''"),
        ("[[workspaces]]\nname = 'x'", "workspaces[1].id: missing"),
        (
            "[[workspaces]]\nid = 'two'\nname = 5",
            "workspaces[1].name: want one line of text without spaces around it, got 5",
        ),
        ("[[workspaces]]\nid = 'two'\nname = 'one'", "workspaces[1].name: 'one' is workspaces[0].id already"),
        ("[[workspaces]]\nid = '*'\n[[workspaces]]\nid = '*'", "workspaces[2].id: '*' is workspaces[1].id already"),
        (
            "[[workspaces]]\nid = '*'\nname = 'all'",
            'workspaces[1].name: "*" stands for many; give the workspace an entry of its own',
        ),
        (
            "[[workspaces]]\nid = '*'\nwatch = '/in'",
            'workspaces[1].watch: "*" stands for many; give the workspace an entry of its own',
        ),
        ("[[workspaces]]\nid = 'two'\nwatch = 'kept/in'", "workspaces[1].watch: overlaps archive.path"),
        ("[[workspaces]]\nid = 'two'\nwatch = 'x/../.'", "workspaces[1].watch: overlaps archive.path"),
        (
            "[[workspaces]]\nid = 'two'\nwatch = 'in'\n[[workspaces]]\nid = 'three'\nwatch = 'in/deep'",
            "workspaces[2].watch: overlaps workspaces[1].watch",
        ),
    ],
)
def test_one_mistake_makes_one_complaint(tmp_path: Path, text: str, problem: str) -> None:
    """The path, what is wanted instead, and what was there."""
    assert refused(tmp_path, ENOUGH + text) == (problem,)


def test_a_name_may_be_the_workspaces_own_id(tmp_path: Path) -> None:
    """Only somebody else's id or name is taken."""
    settings = loaded(tmp_path, ENOUGH + 'name = "one"\n[[workspaces]]\nid = "*"\n')

    assert [workspace.name for workspace in settings.workspaces] == ["one", None]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("workspaces = []", WANT_WORKSPACES),
        ("", WANT_WORKSPACES),
        ("[workspaces]\nid = 'x'", "workspaces: want [[workspaces]], a list of tables, got a table"),
        ("workspaces = ['x']", "workspaces[0]: want a table, got 'x'"),
    ],
)
def test_workspaces_are_a_list_of_tables(tmp_path: Path, rows: str, problem: str) -> None:
    """At least one is named, each in a table of its own."""
    assert refused(tmp_path, rows, {"SYNCER_ARCHIVE__PATH": "/kept"}) == (problem,)


def test_workspaces_of_the_environment_name_the_variable(tmp_path: Path) -> None:
    """A list that cannot be read is not taken for an empty one."""
    assert refused(tmp_path, ENOUGH, {"SYNCER_WORKSPACES": '[{"id": '}) == (
        "workspaces: want a list in JSON, or split by commas (from SYNCER_WORKSPACES)",
    )
    assert refused(tmp_path, ENOUGH, {"SYNCER_WORKSPACES": '[{"id": 5}]'}) == (
        "workspaces[0].id: want one line of text without spaces around it, got 5 (from SYNCER_WORKSPACES)",
    )


def test_unknown_override_is_a_complaint_like_any_other(tmp_path: Path) -> None:
    """The command line has no names of its own."""
    assert refused(tmp_path, ENOUGH, limits__dowloads=3, archives__path="x") == (
        "limits.dowloads: not a setting (did you mean limits.downloads?)",
        "archives.path: not a setting (did you mean archive.path?)",
    )


def test_unknown_variables_are_warned_of(tmp_path: Path) -> None:
    """A variable with a slip in its name would else be ignored in silence; options of commands are known elsewhere."""
    environ = {
        "SYNCER_LIMITS__DOWLOADS": CANARY,
        "SYNCER_SERVICE_URL": CANARY,
        "SYNCER_XYZ": CANARY,
        "SYNCER_CONFIG": "x",
        "SYNCER_LOG_LEVEL": "info",
        "SYNCER_SET": "limits.downloads=8",
        "SYNCER_BACKUP_DRY_RUN": "1",
        "SYNCER_STATUS_MAX_AGE": "26h",
        "PATH": "/bin",
    }

    _, warnings = load(written(tmp_path, ENOUGH), environ)

    assert warnings == (
        "SYNCER_LIMITS__DOWLOADS: not a variable of syncer (did you mean SYNCER_LIMITS__DOWNLOADS?)",
        "SYNCER_SERVICE_URL: not a variable of syncer (did you mean SYNCER_SERVICE__URL?)",
        "SYNCER_XYZ: not a variable of syncer",
    )


# --- secrets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"[service]\nclient_secret = '{CANARY}'",
        f"[service]\ntoken = '{CANARY}'",
        f"[service]\nclientsecret = '{CANARY}'",
        f"[service]\nclient_id = ['{CANARY}']",
        f"[service]\nclient_id = '{CANARY}\\u0000'".replace("'", '"'),
        f"[service]\nclient_id = {{ client_secret = '{CANARY}' }}",
        f"[service]\nclient_secret_file = {{ value = '{CANARY}' }}",
        f"[service]\ncontent_origins = '{CANARY}'",
        f"[service]\ncontent_origins = ['{CANARY}']",
        f"[service]\nurl = 'https://me:{CANARY}@example.com'",
        f"[service]\ntoken_url = 'https://example.com/?secret={CANARY}'",
        f"[limits]\ndownloads = {{ client_secret = '{CANARY}' }}",
        f"[limits]\ndownloads = ['{CANARY}']",
        f"[archive.service]\nclient_secret = '{CANARY}'",
        f"[sevrice]\nclient_secret = '{CANARY}'",
        f"[[workspaces]]\nid = 'x'\nclient_secret = '{CANARY}'",
    ],
)
def test_no_complaint_repeats_what_may_be_a_secret(tmp_path: Path, text: str) -> None:
    """A secret in the wrong place is found out without being shown."""
    assert refused(tmp_path, ("" if "[archive" in text else ENOUGH) + text)


@pytest.mark.parametrize("text", [f"service = '{CANARY}'", f"client_secret = '{CANARY}'", f"service = ['{CANARY}']"])
def test_no_complaint_repeats_a_secret_outside_every_table(tmp_path: Path, text: str) -> None:
    """The same before the first table begins."""
    assert refused(tmp_path, f"{text}\n{ENOUGH}")


def test_client_secret_is_kept_out_of_the_file_and_the_command_line(tmp_path: Path) -> None:
    """The complaint says where the secret may be kept instead."""
    [in_file] = refused(tmp_path, f"{ENOUGH}[service]\nclient_secret = '{CANARY}'")
    [on_line] = refused(tmp_path, ENOUGH, service__client_secret=CANARY)

    assert in_file == (
        "service.client_secret: not kept in this file; use client_secret_file, client_secret_command or the variable "
        "SYNCER_SERVICE__CLIENT_SECRET"
    )
    assert on_line.startswith("service.client_secret: not taken from the command line")


def test_secret_of_the_environment_is_one_line(tmp_path: Path) -> None:
    """A second line would be sent, or cut off, unseen."""
    assert refused(tmp_path, ENOUGH, {"SYNCER_SERVICE__CLIENT_SECRET": f"{CANARY}\nmore"}) == (
        "service.client_secret: want a secret in one line, and this holds a line break or a control character "
        "(from SYNCER_SERVICE__CLIENT_SECRET)",
    )


@pytest.mark.parametrize(
    ("service", "environ", "sources"),
    [
        ("client_secret_file='f'\nclient_secret_command='c'", {}, "client_secret_file and client_secret_command"),
        ("client_secret_file='f'\ntoken_file='t'", {}, "client_secret_file and token_file"),
        ("client_id='i'\ntoken_file='t'", {}, "token_file and client_id"),
        ("client_secret_file='f'", {"SYNCER_SERVICE__CLIENT_SECRET": CANARY}, "client_secret and client_secret_file"),
    ],
)
def test_two_sources_of_credentials_are_one_too_many(
    tmp_path: Path, service: str, environ: dict[str, str], sources: str
) -> None:
    """Nobody should have to guess which secret is in use."""
    assert refused(tmp_path, f"{ENOUGH}[service]\n{service}", environ) == (
        f"service: want one source of credentials, got {sources}",
    )


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
