"""The units for systemd are clean and tight, explain themselves, and agree with the program and with their page."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import qemu_inside
from support import environment, syncer

from syncer.cli.main import COMMANDS
from syncer.errors import ConfigError, SafetyStop
from syncer.settings import load

CHECKOUT = Path(__file__).parents[2]
UNITS = sorted((CHECKOUT / "systemd").iterdir())
SERVICES = [path for path in UNITS if path.suffix == ".service"]
DAEMON, INSTANCE, BACKUP = (CHECKOUT / "systemd" / f"{name}.service" for name in ("syncer", "syncer@", "syncer-backup"))
PAGE = (CHECKOUT / "docs" / "systemd.md").read_text()
EXPOSURE = 11  # in tenths
DRAINS = 10  # seconds that the daemon takes to stop

Directives = dict[str, list[str]]  # name: the values of its lines


def directives(unit: Path) -> Directives:
    """What a unit says, apart from comments."""
    said: Directives = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            said.setdefault(name, []).append(value)
    return said


def seconds(span: str) -> float:
    """Read a span such as `2min`."""
    number, unit = re.fullmatch(r"(\d+)([a-z]*)", span).groups()  # type: ignore[union-attr]  it has to match
    return int(number) * {"": 1, "s": 1, "min": 60, "h": 3600}[unit]


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze, which needs no systemd that runs."""
    if not shutil.which("systemd-analyze"):
        (pytest.fail if os.environ.get("SYNCER_CI") else pytest.skip)("systemd-analyze is not installed")
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment({"SYSTEMD_COLORS": "0"}),
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with systemd's own units, ours, and what they start."""
    (own,) = {path.resolve() for path in map(Path, ("/usr/lib/systemd/system", "/lib/systemd/system")) if path.exists()}
    shutil.copytree(own, tmp_path / "usr/lib/systemd/system", symlinks=True)
    shutil.copytree(CHECKOUT / "systemd", tmp_path / "etc/systemd/system")
    for program in ("opt/syncer/bin/syncer", "bin/kill"):
        (tmp_path / program).parent.mkdir(parents=True)
        (tmp_path / program).touch(mode=0o755)
    return tmp_path


def verified(root: Path, unit: str) -> tuple[int, str]:
    """What `systemd-analyze verify` thinks of a unit in its own place."""
    done = analyze("verify", "--man=no", f"--root={root}", unit)
    return done.returncode, done.stdout + done.stderr


# --- by systemd's own word ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("unit", [path.name.replace("@.", "@brand.") for path in UNITS])
def test_systemd_understands_every_line(root: Path, unit: str):
    """No warning about a unit, nor about what it starts or refers to."""
    assert verified(root, unit) == (0, "")


@pytest.mark.slow
def test_systemd_would_not_be_silent_about_a_mistake(root: Path):
    """A word that it does not know, and a program that is not there, are told."""
    unit = root / "etc/systemd/system/syncer.service"
    unit.write_text(unit.read_text().replace("ProtectSystem=", "ProtectSystems=").replace("bin/syncer", "bin/sincer"))

    _, complaints = verified(root, unit.name)

    assert "ProtectSystems" in complaints
    assert "sincer" in complaints


@pytest.mark.slow
@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_a_service_is_hardly_exposed(unit: Path):
    """At most 1.1 of 10; what is left is that it uses the network."""
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", unit)

    assert done.returncode == 0, done.stdout


# --- for who reads them -------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_every_line_says_why_it_is_there(unit: Path):
    """A comment stands before each directive, also before one that is only offered; and lines fit a screen."""
    lines = unit.read_text().splitlines()
    said = [place for place, line in enumerate(lines) if re.match(r"#?[A-Z]\w*=", line)]

    assert len(said) > 5
    assert [lines[place] for place in said if not lines[place - 1].startswith("# ")] == []
    assert [line for line in lines if len(line) > 120] == []


def test_an_instance_differs_in_names_alone():
    """`syncer@brand` is what `syncer` is, in places of its own."""
    expected = {
        name: [
            value.replace("/etc/syncer/syncer.toml", "/etc/syncer/%i.toml")
            .replace("/etc/syncer/client_secret", "/etc/syncer/%i.client_secret")
            .replace("/etc/syncer/environment", "/etc/syncer/%i.environment")
            for value in values
        ]
        for name, values in directives(DAEMON).items()
    }
    for name in ("User", "StateDirectory", "RuntimeDirectory"):
        expected[name] = ["syncer-%i"]
    expected["Description"] = [value.replace(":", " for %i:", 1) for value in expected["Description"]]

    assert directives(INSTANCE) == expected


def test_one_backup_is_confined_as_the_daemon_is():
    """The same sandbox, apart from the control socket."""
    confined = [re.split(r"^# --- .*\n", unit.read_text(), flags=re.MULTILINE)[2] for unit in (DAEMON, BACKUP)]
    confined = [text.partition("\n[Install]")[0].rstrip() for text in confined]
    assert "SystemCallFilter" in confined[0]
    daemon, backup = directives(DAEMON), directives(BACKUP)

    assert confined[1] == confined[0].replace(", also not for a command of [notify]", "")
    for name in ("DynamicUser", "User", "StateDirectory", "StateDirectoryMode", "LoadCredential", "UMask", "LimitCORE"):
        assert backup[name] == daemon[name]


# --- with the program ---------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_what_is_started_is_understood(unit: Path, tmp_path: Path):
    """The command line gets as far as the configuration, which is then what it complains of."""
    (line,) = directives(unit)["ExecStart"]
    program, *arguments = shlex.split(line)
    broken = tmp_path / "broken.toml"
    broken.write_text("[archive]\nno_such_setting = 1\n")
    assert program == "/opt/syncer/bin/syncer"

    ran = syncer(*(broken if argument.endswith(".toml") else argument for argument in arguments))

    assert ran.returncode == ConfigError.exit_code
    assert "no_such_setting" in ran.stderr


@pytest.mark.parametrize("unit", [DAEMON, INSTANCE], ids=lambda path: path.name)
def test_only_what_a_person_has_to_heal_is_not_tried_again(unit: Path):
    """The configuration and a missing marker; another process that holds the archive will end, a disk may have room."""
    (codes,) = directives(unit)["RestartPreventExitStatus"]

    assert {int(code) for code in codes.split()} == {ConfigError.exit_code, SafetyStop.exit_code}


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_stopping_waits_for_what_the_daemon_drains(unit: Path):
    """Not killed before the seconds that it takes are over."""
    (patience,) = directives(unit)["TimeoutStopSec"]

    assert seconds(patience) > DRAINS


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_nothing_but_being_stopped_is_success_beside_0(unit: Path):
    """Least of all exit 3, "not complete"."""
    assert directives(unit)["SuccessExitStatus"] == ["143"]


@pytest.mark.parametrize("unit", [DAEMON, INSTANCE], ids=lambda path: path.name)
def test_whatever_ended_the_daemon_it_is_started_again(unit: Path):
    """However often: no limit keeps it from being tried once more."""
    assert directives(unit)["Restart"] == ["always"]
    assert directives(unit)["StartLimitIntervalSec"] == ["0"]


# --- with the page ------------------------------------------------------------------------------------


def heredocs(language: str) -> list[str]:
    """The files that the page's commands write, by what their name ends with."""
    return re.findall(rf"\.{language} <<'END'\n(.*?)^END$", "\n".join(blocks()), re.DOTALL | re.MULTILINE)


def blocks() -> list[str]:
    """Every block of shell commands."""
    titles = re.findall(r"^## .*$", PAGE, re.MULTILINE)
    return [block for title in titles for block in qemu_inside.blocks(PAGE, title)]


def test_installing_takes_six_commands():
    """As the heading says."""
    commands = qemu_inside.blocks(PAGE, qemu_inside.INSTALLING)[:6]

    assert len(commands) == 6
    assert commands[-1] == "systemctl enable --now syncer\n"
    assert qemu_inside.blocks(PAGE, qemu_inside.INSTALLING)[6:], "after it, the variables"


def test_the_page_is_valid_shell():
    """Every block."""
    assert len(blocks()) == PAGE.count("```sh\n")

    for block in blocks():
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_the_configuration_on_the_page_can_be_loaded(tmp_path: Path):
    """It leaves the secret to systemd, and the archive lies where the unit's is."""
    (text,) = heredocs("toml")
    path = tmp_path / "syncer.toml"
    path.write_text(text)

    settings, warnings = load(path, {})

    assert warnings == ()
    assert settings.service.client_secret_file is None
    assert str(settings.archive.path).startswith(f"/var/lib/{directives(DAEMON)['StateDirectory'][0]}/")
    assert settings.daemon.listen is not None
    assert "{}:{}".format(*settings.daemon.listen) in PAGE


def test_the_page_knows_the_paths_of_the_units():
    """Each that a unit names, as it is or for the instance `brand`."""
    text = "\n".join(unit.read_text() for unit in SERVICES)
    named = {path.replace("%i", "brand") for path in re.findall(r"/(?:etc|opt)/syncer(?:[\w/%-]|[.]\w)*", text)}

    assert len(named) > 6
    assert {path for path in named if path not in PAGE and not path.endswith("brand.client_secret.cred")} == set()


def test_the_commands_on_the_page_exist():
    """Each `syncer COMMAND`, and the function that runs one as the service's user."""
    named = set(re.findall(r"(?:/bin/syncer|as_syncer|`syncer) ([a-z]+)", PAGE))

    assert {"status", "trigger", "pause", "verify"} <= named
    assert named - COMMANDS.keys() == set()


def test_the_page_tells_the_same_codes_as_the_unit():
    """Those after which it waits for a person."""
    (codes,) = directives(DAEMON)["RestartPreventExitStatus"]

    (told,) = re.findall(r"With (\d) .*? or (\d) .*? the unit is `failed`", PAGE)

    assert list(told) == codes.split()
