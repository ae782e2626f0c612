"""What the guest of `qemu_guest.py` does when it is up: docs/systemd.md as it stands, and every promise of the units.

Runs as root with Debian's own Python and nothing else. The commands are taken from the page, not written here again;
only the service is replaced by the simulated one. Writes a JSON line a check to the device it is given; a check that
fails does not keep the others from being made.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

INSTALLING = "## From an empty Debian to a running service in six commands"
SOURCES = Path("/opt/sources")
SYNCER = "/opt/syncer/bin/syncer"
CONFIG, SECRET = Path("/etc/syncer/syncer.toml"), Path("/etc/syncer/client_secret")
ARCHIVE = Path("/var/lib/syncer/archive")
SIMULATED = Path("/run/simulated.toml")
IMAGES = 24
DRAINS = 10.0  # seconds from SIGTERM
WATCHDOG = 120.0  # seconds, as the unit says
PATIENCE = 600.0  # seconds for what has no bound of its own: the machine is emulated

CHECKS: dict[str, Callable[[], str]] = {}


def check(make: Callable[[], str]) -> Callable[[], str]:
    """Make it a check, named by the first sentence of its docstring; it returns what else there is to tell."""
    CHECKS[(make.__doc__ or "").partition(".")[0]] = make
    return make


# --- the page -----------------------------------------------------------------------------------------


def blocks(page: str, title: str) -> list[str]:
    """The shell blocks under a heading, up to the next heading of its level."""
    level, _, _ = title.partition(" ")
    text = page.partition(f"\n{title}\n")[2]
    text = re.split(rf"^#{{2,{len(level)}}} ", text, maxsplit=1, flags=re.MULTILINE)[0]  # a comment has one
    found = re.findall(r"^( *)```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in found]


def typed(title: str) -> list[str]:
    """The blocks of the page under a heading."""
    return blocks((SOURCES / "docs/systemd.md").read_text(), title)


# --- the machine --------------------------------------------------------------------------------------


def sh(command: str, given: str = "", *, allowed: tuple[int, ...] = (0,)) -> str:
    """Run something as a person would type it, in the folder of the sources; returns what it prints."""
    environ = {**os.environ, "HOME": "/root", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/opt/guest/wheels"}
    shell, pipe, together = ["bash", "-euo", "pipefail", "-c", command], subprocess.PIPE, subprocess.STDOUT
    done = subprocess.run(
        shell, input=given, stdout=pipe, stderr=together, text=True, timeout=PATIENCE * 2, cwd=SOURCES, env=environ
    )
    assert done.returncode in allowed, f"{command.splitlines()[0]} ended with {done.returncode}: {done.stdout[-1500:]}"
    return done.stdout


def prop(name: str, unit: str = "syncer") -> str:
    """A property of a unit."""
    return sh(f"systemctl show --value -p {name} {unit}").strip()


def until(holds: Callable[[], object], what: str, seconds: float = PATIENCE) -> float:
    """Wait until something holds; returns the seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.2)
    return time.monotonic() - began


def pictures(archive: Path = ARCHIVE) -> list[Path]:
    """The pictures that have their final names."""
    return [path for path in archive.glob("*/2*/**/*") if path.suffix in {".png", ".jpg", ".webp", ".gif"}]


def asked(path: str) -> tuple[int, str]:
    """What the daemon answers over HTTP."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:9464{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def journal(*fields: str) -> list[dict[str, object]]:
    """What the journal has of the service."""
    return [json.loads(line) for line in sh(f"journalctl -u syncer -o json {' '.join(fields)}").splitlines()]


def restarted(settle: Callable[[], object]) -> float:
    """Do something that starts the service anew, and wait until it is ready as another process."""
    before = prop("MainPID")
    settle()
    return until(lambda: prop("MainPID") not in {"0", before} and prop("ActiveState") == "active", "ready again")


# --- installing ---------------------------------------------------------------------------------------


@check
def installed() -> str:
    """The first five commands of the page install it."""
    *commands, secret = typed(INSTALLING)[:5]
    for command in commands:
        sh(command)
    sh(secret, given="not-the-secret-yet\n")
    release, systemd = Path("/etc/debian_version").read_text().strip(), sh("systemctl --version").splitlines()[0]
    return (
        f"{sh(f'{SYNCER} --version').strip()}, {sys.version.split()[0]}, Debian {release}, {systemd}, {os.uname()[2]}"
    )


@check
def simulated() -> str:
    """The simulated service runs as a unit of its own."""
    sh(
        f"systemd-run --unit=simulated -p StandardOutput=file:{SIMULATED} -p StandardError=journal -p UMask=0077 "
        f"{SYNCER} simulate --port 8800 --images {IMAGES}"
    )
    until(lambda: SIMULATED.exists() and "[[workspaces]]" in SIMULATED.read_text(), "it listens")
    text = SIMULATED.read_text()
    secret = Path(re.findall(r'client_secret_file = "(.*)"', text)[0]).read_text()
    CONFIG.write_text(configuration(ARCHIVE))
    SECRET.write_text(f"{secret}\n")
    return f"{text.count('[[workspaces]]')} workspaces"


def configuration(archive: Path, more: str = "") -> str:
    """The simulated service's, with the secret left to systemd."""
    text = re.sub(r"client_secret_file = .*\n", "", SIMULATED.read_text())
    return re.sub(r"(?m)^path = .*$", f'path = "{archive}"', text) + more


@check
def judged() -> str:
    """The units are clean to systemd-analyze, in their own places."""
    sh("systemd-analyze verify --man=no /etc/systemd/system/syncer*")
    (exposure,) = re.findall(r"level for \S+: ([\d.]+)", sh("systemd-analyze security --no-pager syncer.service"))
    return f"exposure {exposure}"


# --- the daemon ---------------------------------------------------------------------------------------


@check
def started() -> str:
    """The sixth command returns when the daemon is ready."""
    began = time.monotonic()
    sh(typed(INSTALLING)[5])
    assert prop("ActiveState") == "active"
    assert asked("/readyz")[0] == 200
    return f"{time.monotonic() - began:.1f} s, {prop('StatusText')}"


@check
def archived() -> str:
    """It archives pictures, as a user of its own."""
    seconds = until(lambda: len(pictures()) >= IMAGES, "all pictures are there")
    sh(f"{SYNCER} trigger --wait")
    status = Path(f"/proc/{prop('MainPID')}/status").read_text()
    owners = {path.stat().st_uid for path in ARCHIVE.rglob("*")}
    assert owners == {int(re.findall(r"Uid:\t(\d+)", status)[0])}, owners
    assert 0 not in owners
    return f"{len(pictures())} after {seconds:.1f} s, uid {owners}"


@check
def confined() -> str:
    """The kernel holds it: no capabilities, no new privileges, a filter for its calls."""
    status = Path(f"/proc/{prop('MainPID')}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert facts["Seccomp"].strip() == "2"
    assert facts["NoNewPrivs"].strip() == "1"
    assert {int(facts[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    return f"{facts['VmRSS'].strip()} resident, {facts['Threads'].strip()} threads"


@check
def closed() -> str:
    """Nobody but root and itself looks at the archive or gives orders."""
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all"
    sh(f"{nobody} ls {ARCHIVE}", allowed=(2,))
    sh(f"{nobody} {SYNCER} trigger", allowed=(2,))
    sh(f"{nobody} cat {SECRET}", allowed=(1,))
    sh(f"{SYNCER} pause && {SYNCER} resume")
    return ""


@check
def told() -> str:
    """Health, metrics and the journal's fields tell of the runs."""
    until(lambda: asked("/healthz")[0] == 200, "well")
    until(lambda: re.search("(?s)syncer_.*process_resident_memory_bytes", asked("/metrics")[1]), "metrics")
    runs = {str(line["SYNCER_RUN"]) for line in journal() if "SYNCER_RUN" in line}
    assert runs, "no line of the journal has SYNCER_RUN"
    run = runs.pop()
    assert {line["SYNCER_RUN"] for line in journal(f"SYNCER_RUN={run}")} == {run}
    assert any("SYNCER_WORKSPACE" in line for line in journal())
    return asked("/healthz")[1].strip()


@check
def looked_after() -> str:
    """Root can look, and a command as the service's user can write beside it."""
    listed = sh(f"{SYNCER} list --json")
    sh(f"{SYNCER} status")
    sh(typed("## Looking after it")[0])
    assert {path.stat().st_uid for path in ARCHIVE.rglob("*")} == {ARCHIVE.stat().st_uid}
    return f"{len(listed.splitlines())} lines"


@check
def reloaded() -> str:
    """A reload takes a good configuration and refuses a broken one."""
    pid = prop("MainPID")
    good = CONFIG.read_text()
    CONFIG.write_text(good + "\n[limits]\ndownloads = 4\n")
    sh("systemctl reload syncer")
    until(lambda: journal("SYNCER_EVENT=configuration.reloaded"), "reloaded")
    CONFIG.write_text(good + "\n[limits]\ndownloads = many\n")
    sh("systemctl reload syncer")
    until(lambda: re.search("(?i)configuration|refused", prop("StatusText")), "its status says that it was refused")
    status = prop("StatusText")
    CONFIG.write_text(good)
    sh("systemctl reload syncer")
    until(lambda: prop("StatusText") != status, "its status says nothing of it any more")
    assert (prop("MainPID"), prop("ActiveState")) == (pid, "active")
    return status


@check
def asked_by_signal() -> str:
    """SIGUSR1 begins a pass."""
    before = {line.get("SYNCER_RUN") for line in journal()}
    sh("systemctl kill -s USR1 --kill-who=main syncer")
    seconds = until(lambda: {line.get("SYNCER_RUN") for line in journal()} - before, "another run")
    return f"{seconds:.1f} s"


@check
def watched() -> str:
    """A daemon that hangs is replaced by the watchdog, and the journal tells where it hung."""
    pid, before = prop("MainPID"), int(prop("NRestarts"))
    seconds = restarted(lambda: os.kill(int(pid), signal.SIGSTOP))
    assert int(prop("NRestarts")) == before + 1
    assert any("Fatal Python error" in str(line.get("MESSAGE")) for line in journal()), "no stack in the journal"
    assert seconds > WATCHDOG / 2, "that was not the watchdog"
    return f"ready again after {seconds:.0f} s"


@check
def killed() -> str:
    """A daemon that is killed is started again, over a sound archive."""
    pid = prop("MainPID")
    seconds = restarted(lambda: os.kill(int(pid), signal.SIGKILL))
    sh(f"{SYNCER} trigger --wait")
    return f"ready again after {seconds:.0f} s"


@check
def secret() -> str:
    """No secret stands in the journal, in the archive, or among what other users can see of the process."""
    word = SECRET.read_text().strip()
    assert word not in sh("journalctl -o export --all | cat -v")
    sh(f"grep -rqF {word} {ARCHIVE}", allowed=(1,))
    shown = Path(f"/proc/{prop('MainPID')}/cmdline").read_text() + sh("systemctl show syncer")
    assert word not in shown
    return ""


@check
def encrypted() -> str:
    """An encrypted secret does as well, as the page says."""
    kept = SECRET.read_text()
    restarted(lambda: sh(typed("## A secret that only this machine can read")[0]))
    assert not SECRET.exists()
    sh(f"{SYNCER} trigger --wait")
    SECRET.write_text(kept)
    SECRET.chmod(0o600)
    return ""


@check
def stopped() -> str:
    """Stopping is clean and takes at most ten seconds, also in the middle of a run; another instance is not touched."""
    other = Path("/var/lib/syncer-brand/archive")
    slow = '\n[limits]\nrequests_per_second = 0.5\ndownloads = 1\n[daemon]\nlisten = "127.0.0.1:9465"\n'
    CONFIG.with_name("brand.toml").write_text(configuration(other, slow))
    CONFIG.with_name("brand.client_secret").write_text(SECRET.read_text())
    sh("systemctl enable --now syncer@brand")
    sh("systemctl kill -s USR1 --kill-who=main syncer@brand")
    until(lambda: 0 < len(pictures(other)) < IMAGES, "the other instance is in the middle of its run")
    took = {}
    for unit in ("syncer@brand", "syncer"):
        began = time.monotonic()
        sh(f"systemctl stop {unit}")
        took[unit] = round(time.monotonic() - began, 1)
        assert (prop("Result", unit), prop("ActiveState", unit)) == ("success", "inactive"), unit
        if unit == "syncer@brand":
            assert prop("ActiveState") == "active"
            assert 0 < len(pictures(other)) < IMAGES, "the run was over"
    assert max(took.values()) <= DRAINS, took
    return f"{took}, exit {prop('ExecMainStatus')}"


@check
def refused() -> str:
    """A configuration that no restart heals leaves the unit failed."""
    good = CONFIG.read_text()
    CONFIG.write_text(good + "\n[limits]\ndownloads = many\n")
    sh("systemctl start syncer", allowed=(1,))
    assert (prop("ActiveState"), prop("ExecMainStatus"), prop("NRestarts")) == ("failed", "2", "0")
    CONFIG.write_text(good)
    sh("systemctl reset-failed syncer")
    return ""


# --- without the daemon -------------------------------------------------------------------------------


@check
def backed_up() -> str:
    """The backup that the timer starts is complete, over the same archive."""
    sh("systemctl enable --now syncer-backup.timer && systemctl list-timers --no-pager syncer-backup.timer")
    began = time.monotonic()
    sh("systemctl start syncer-backup")
    assert prop("ExecMainStatus", "syncer-backup") == "0"
    assert len(pictures()) == IMAGES
    assert {path.stat().st_uid for path in ARCHIVE.rglob("*")} == {ARCHIVE.stat().st_uid}
    took = time.monotonic() - began
    sh("systemctl disable --now syncer-backup.timer")
    return f"{took:.1f} s"


@check
def moved() -> str:
    """An archive elsewhere is carried by the page's drop-in."""
    sh("mkdir -p /srv/pictures")
    sh(typed("## An archive elsewhere, or a folder to watch")[0])
    sh(f"{SYNCER} trigger --wait")
    assert len(pictures(Path("/srv/pictures/archive"))) == IMAGES
    return f"owned by {Path('/srv/pictures/archive').owner()}"


@check
def upgraded() -> str:
    """An upgrade and a restart keep it going."""
    seconds = restarted(lambda: sh(typed("## Upgrading")[0]))
    return f"ready {seconds:.1f} s after it"


@check
def removed() -> str:
    """Removing leaves the archive, and nothing else."""
    sh("systemctl disable syncer@brand")
    sh(typed("## Removing")[0])
    left = [path for path in map(Path, ("/opt/syncer", "/etc/syncer", "/run/syncer")) if path.exists()]
    assert [*left, *Path("/etc/systemd/system").rglob("syncer*")] == []
    assert len(pictures(Path("/srv/pictures/archive"))) == IMAGES
    return ""


def main() -> None:
    """Make every check, and say how it went."""
    with Path(sys.argv[1]).open("w") as out:
        for name, make in CHECKS.items():
            began = time.monotonic()
            try:
                ok, detail = True, make()
            except Exception as error:  # whatever it is: it is told, and the next check is made
                ok, detail = False, f"{type(error).__name__}: {error}"
            if not ok:
                detail += "\n" + sh(
                    "journalctl -u 'syncer*' -n 12 --no-pager -o short-monotonic | cut -c1-400 | cat -v"
                )
            seconds = round(time.monotonic() - began, 1)
            out.write(json.dumps({"check": name, "ok": ok, "seconds": seconds, "detail": detail}) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
