"""What is wrong with a configuration: all of it at once, each with its path, and no secret repeated."""

from pathlib import Path

import pytest
from settings_parts import CANARY, ENOUGH, loaded, refused, written

from syncer.settings import load

WANT_SCHEDULE = 'want a cron line of five fields such as "0 3 * * *", an interval from "1s" to "366d", or ""'
WANT_LISTEN = "want host:port such as 127.0.0.1:9464 or [::1]:9464"
WANT_WORKSPACES = 'workspaces: missing; name at least one, or "*" for every one that the credentials can reach'


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
        (f"[schedule]\nfull = '{'9' * 12}w'", f"schedule.full: {WANT_SCHEDULE}, got '{'9' * 12}w'"),
        ("[schedule]\njitter = '25h'", "schedule.jitter: want a duration up to 1d, or 0 for none, got '25h'"),
        ("[schedule]\njitter = 'some'", "schedule.jitter: want a duration such as 90s, 15m, 26h or 1d, got 'some'"),
        ("[schedule]\nverify_parts = 0", "schedule.verify_parts: want a whole number above 0, got 0"),
        ("[daemon]\nlisten = '9464'", f"daemon.listen: {WANT_LISTEN}, got '9464'"),
        ("[daemon]\nlisten = 9464", 'daemon.listen: want host:port such as 127.0.0.1:9464, or "", got 9464'),
        ("[daemon]\nsocket = ''", "daemon.socket: want a path, got ''"),
        ("[notify]\nping_url = ''", "notify.ping_url: want an address such as https://host/path"),
        (
            "[notify]\nwebhook_url = 'http://hook.example'",
            "notify.webhook_url: want https: over http the address, which is a secret, would travel in the clear",
        ),
        (
            "[notify]\ncommand = 'tell \"open'",
            "notify.command: want a command line; a quotation mark is left open",
        ),
        ("[notify]\nwebhook = 'x'", "notify.webhook: not a setting (did you mean notify.webhook_url?)"),
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
        (
            "[[workspaces]]\nid = 'two'\nschedule = { full = 'daily' }",
            f"workspaces[1].schedule.full: {WANT_SCHEDULE}, got 'daily'",
        ),
        (
            "[[workspaces]]\nid = 'two'\nschedule = { fulll = '1d' }",
            "workspaces[1].schedule.fulll: not a setting (did you mean workspaces[1].schedule.full?)",
        ),
        (
            "[[workspaces]]\nid = 'two'\nschedule = { verify = '1d' }",
            "workspaces[1].schedule.verify: not a setting (did you mean schedule.verify?)",
        ),
        (
            "[[workspaces]]\nid = 'two'\nfull = '1d'",
            "workspaces[1].full: not a setting (did you mean workspaces[1].schedule.full?)",
        ),
        ("[[workspaces]]\nid = 'two'\nschedule = '5m'", "workspaces[1].schedule: want a table, got '5m'"),
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
        "SYNCER_WATCH_AFTER": "keep",
        "PATH": "/bin",
    }

    _, warnings = load(written(tmp_path, ENOUGH), environ)

    assert warnings == (
        "SYNCER_LIMITS__DOWLOADS: not a variable of syncer (did you mean SYNCER_LIMITS__DOWNLOADS?)",
        "SYNCER_SERVICE_URL: not a variable of syncer (did you mean SYNCER_SERVICE__URL?)",
        "SYNCER_WATCH_AFTER: not a variable of syncer (each workspace has its watch_after in a table of its own)",
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
        f"[notify]\nping_url = 'https://hc.example:{CANARY}/'",
        f"[notify]\nwebhook_url = 'http://me:{CANARY}@hook.example/{CANARY}'",
        f"[notify]\nwebhook_url = ['{CANARY}']",
        f"[notify]\ncommand = 'tell \"{CANARY}'",
        f"[notify]\nping = '{CANARY}'",
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


@pytest.mark.parametrize("name", ["ping_url", "webhook_url"])
def test_secret_address_is_kept_out_of_the_command_line(tmp_path: Path, name: str) -> None:
    """Whoever lists the processes of a machine would be able to use it."""
    overrides = {f"notify__{name}": f"https://hc.example/{CANARY}"}

    assert refused(tmp_path, ENOUGH, None, **overrides) == (
        f"notify.{name}: not taken from the command line, which others on this machine can read",
    )


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
