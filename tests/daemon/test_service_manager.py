"""The service manager hears what it must hear, and never holds the daemon up."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from patience import without_waiting

from syncer.daemon import service_manager
from syncer.daemon.service_manager import ServiceManager
from syncer.redaction import Redactor

SECRET = "s3cr3t-of-the-test-0b9f"


class Listener:
    """The manager's end of the socket."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self.listen()

    def listen(self) -> None:
        """Begin to listen, or begin anew, under the same name."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address)
        self._socket.setblocking(False)

    def vanish(self) -> None:
        """Listen no more."""
        self._socket.close()
        if not self.name.startswith("@"):
            Path(self.name).unlink(missing_ok=True)

    def heard(self) -> list[str]:
        """What has arrived since the last call, without what filled the socket."""
        found = []
        try:
            while True:
                found.append(self._socket.recv(1 << 16).decode())
        except BlockingIOError:
            return [text for text in found if text != "X=fill"]

    def fill(self) -> None:
        """Have no room for another word until `heard` is called."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    other.sendto(b"X=fill", self._address)


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    """A real socket, in both of the places where systemd has it."""
    listening = Listener(str(tmp_path / "notify") if request.param == "path" else f"@syncer-{uuid4()}")
    yield listening
    listening.vanish()


@pytest.fixture
def manager(listener: Listener) -> Iterator[ServiceManager]:
    """The one at the other end, with a clock that stands still."""
    with closing(ServiceManager.of({"NOTIFY_SOCKET": listener.name}, clock=lambda: 12.3456789)) as opened:
        yield opened


# --- the words ----------------------------------------------------------------------------------------


def test_the_words_are_systemds(manager: ServiceManager, listener: Listener):
    """One datagram a call, spelled as in sd_notify(3)."""
    manager.extend(90.5)
    manager.ready("3 workspaces")
    manager.alive()
    manager.status("backing up brand")
    manager.reloading()
    manager.ready("3 workspaces")
    manager.stopping("finishing 4 images")

    assert listener.heard() == [
        "EXTEND_TIMEOUT_USEC=90500000",
        "READY=1\nSTATUS=3 workspaces",
        "WATCHDOG=1",
        "STATUS=backing up brand",
        "RELOADING=1\nMONOTONIC_USEC=12345678",
        "READY=1\nSTATUS=3 workspaces",
        "STOPPING=1\nSTATUS=finishing 4 images",
    ]


def test_a_reload_is_stamped_by_the_machines_clock(listener: Listener):
    """systemd compares it with its own CLOCK_MONOTONIC."""
    with closing(ServiceManager.of({"NOTIFY_SOCKET": listener.name})) as manager:
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        manager.reloading()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    (text,) = listener.heard()
    assert before - 1 <= int(text.rpartition("=")[2]) <= after


def test_a_status_is_sent_when_it_differs(manager: ServiceManager, listener: Listener):
    """The one said with ready or stopping counts too."""
    manager.ready("idle")
    manager.status("idle")
    manager.status("busy")
    manager.status("busy")
    manager.status("idle")
    manager.stopping("ending")
    manager.status("ending")

    assert listener.heard() == ["READY=1\nSTATUS=idle", "STATUS=busy", "STATUS=idle", "STOPPING=1\nSTATUS=ending"]


@pytest.mark.parametrize("say", [ServiceManager.ready, ServiceManager.status, ServiceManager.stopping])
def test_a_status_is_one_line(manager: ServiceManager, listener: Listener, say: Callable[[ServiceManager, str], None]):
    """A name from the service must not become a word of ours, nor steer a terminal."""
    say(manager, "brand\nSTOPPING=1\r\n\tnext\x1b[2J\x00\ud800")

    (text,) = listener.heard()
    assert text.splitlines()[-1] == "STATUS=brand STOPPING=1 next�[2J��"
    assert "STOPPING=1" not in text.splitlines()[1:]


@pytest.mark.parametrize("say", [ServiceManager.ready, ServiceManager.status, ServiceManager.stopping])
def test_a_status_is_short(manager: ServiceManager, listener: Listener, say: Callable[[ServiceManager, str], None]):
    """systemd ignores what is longer than 4,096 bytes, a READY=1 in it included."""
    say(manager, "🖼" * 5000)

    (text,) = listener.heard()
    assert len(text.encode()) <= 4096
    assert text.endswith("🖼…")


@pytest.mark.parametrize("say", [ServiceManager.ready, ServiceManager.status, ServiceManager.stopping])
@pytest.mark.parametrize("before", [0, 490])
def test_a_status_shows_no_secret(
    manager: ServiceManager,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    say: Callable[[ServiceManager, str], None],
    before: int,
):
    """Not even the half of one where the line is cut: `systemctl status` is for everybody."""
    redact = Redactor()
    redact.learn(SECRET)
    monkeypatch.setattr(service_manager, "redact", redact)

    say(manager, "x" * before + f" {SECRET} Bearer {SECRET[::-1]}")

    (text,) = listener.heard()
    assert SECRET[:4] not in text
    assert SECRET[::-1] not in text


# --- nobody waits -------------------------------------------------------------------------------------


def test_what_the_manager_acts_on_is_owed_until_it_gets_through(manager: ServiceManager, listener: Listener):
    """A READY=1 that is lost would have the daemon killed; it comes first, in order, once there is room."""
    listener.fill()
    with without_waiting():
        manager.reloading()
        manager.ready("idle")
    assert listener.heard() == []

    manager.alive()

    assert listener.heard() == ["RELOADING=1\nMONOTONIC_USEC=12345678", "READY=1\nSTATUS=idle", "WATCHDOG=1"]


def test_what_counts_only_now_is_not_owed(manager: ServiceManager, listener: Listener):
    """An old sign of life would say that we live when we do not."""
    listener.fill()
    with without_waiting():
        manager.alive()
        manager.extend(30)
        manager.status("busy")
    assert listener.heard() == []

    manager.alive()

    assert listener.heard() == ["WATCHDOG=1"]


def test_a_status_that_was_lost_is_said_again(manager: ServiceManager, listener: Listener):
    """It differs from the last one that arrived."""
    listener.fill()
    manager.status("busy")
    assert listener.heard() == []

    manager.status("busy")

    assert listener.heard() == ["STATUS=busy"]


def test_a_manager_that_vanished_is_no_error(manager: ServiceManager, listener: Listener):
    """The daemon goes on; if it comes back under its name, it is told."""
    listener.vanish()
    for _ in range(100):
        manager.ready("idle")
        manager.status("busy")
        manager.alive()
        manager.extend(1)
        manager.reloading()
    manager.stopping("ending")

    listener.listen()
    manager.alive()

    heard = listener.heard()
    assert heard[-2:] == ["STOPPING=1\nSTATUS=ending", "WATCHDOG=1"]
    assert len(heard) < 20


@pytest.mark.parametrize(
    "environ",
    [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}, {"NOTIFY_SOCKET": "/" + "x" * 500}],
    ids=["none", "empty", "another kind", "too long"],
)
def test_without_a_manager_nothing_happens(environ: dict[str, str]):
    """By hand, in a container, in a test: the daemon speaks all the same."""
    with closing(ServiceManager.of(environ)) as manager:
        manager.ready("idle")
        manager.status("busy")
        manager.alive()
        manager.reloading()
        manager.extend(1)
        manager.stopping("ending")


def test_a_process_without_descriptors_left_goes_on(listener: Listener):
    """It has other troubles, and its log will say so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        manager = ServiceManager.of({"NOTIFY_SOCKET": listener.name})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    manager.ready("idle")
    manager.close()
    assert listener.heard() == []


def test_nothing_is_said_after_the_end(manager: ServiceManager, listener: Listener):
    """Closing twice is as good as once."""
    manager.close()
    manager.status("busy")
    manager.ready("idle")
    manager.close()

    assert listener.heard() == []


def test_what_is_started_from_here_does_not_get_the_socket(listener: Listener):
    """A command of the operator's must not speak in our name."""

    def sockets_of_a_child() -> list[str]:
        listed = subprocess.run(
            ["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, check=True, text=True
        )
        return sorted(line.rpartition(" ")[2] for line in listed.stdout.splitlines() if "socket:" in line)

    before = sockets_of_a_child()
    with closing(ServiceManager.of({"NOTIFY_SOCKET": listener.name})):
        assert sockets_of_a_child() == before


# --- the watchdog -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": ""}, 0.25),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "many"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(environ: dict[str, str], seconds: float | None):
    """If it watches this process at all, and not the one that started it."""
    with closing(ServiceManager.of({"NOTIFY_SOCKET": "/nowhere", **environ})) as manager:
        assert manager.watchdog_seconds == seconds


def test_without_a_socket_no_watchdog_is_fed():
    """There is nowhere to send the signs of life."""
    assert ServiceManager.of({"WATCHDOG_USEC": "60000000"}).watchdog_seconds is None
