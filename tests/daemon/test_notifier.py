"""Pings and changes of state arrive in order and within bounds, and whatever goes wrong out there stays out there."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime

import pytest
from notifier_parts import (
    CANARY,
    DOCS,
    FACTS,
    FULL,
    OK,
    REFUSED,
    RUN,
    Forgetful,
    Lines,
    Pauses,
    Receiver,
    addressed,
    logging_to,
    notifying,
    receiving,
)

from syncer.daemon.notifier import LONGEST_BODY, LONGEST_QUEUE, Facts, Notifier, State, ping_address
from syncer.daemon.snapshot import Cause, WorkspaceState
from syncer.errors import SyncerError
from syncer.settings import NotifySettings, Secret


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Who is told."""
    async with receiving() as running:
        yield running


@pytest.fixture
def redactor() -> Forgetful:
    """So that no test passes because an address was blanked."""
    return Forgetful()


@pytest.fixture(autouse=True)
def logged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, redactor: Forgetful
) -> Iterator[Callable[[], Lines]]:
    """Call for what was logged."""
    with logging_to(capsys, monkeypatch, redactor) as read:
        yield read


# --- the ping -----------------------------------------------------------------------------------------


async def test_a_run_is_framed_by_pings(receiver: Receiver):
    """Start and end arrive in order, as text, and share an id that no other run has."""
    async with notifying(addressed(receiver)) as notifier:
        notifier.began("run-1", "full: brand")
        notifier.ended("run-1", True, "2 new images")
        notifier.began("run-2", "quick: brand")
        notifier.ended("run-2", False, "the service cannot be reached")

    path = f"/ping-{CANARY}"
    assert [got.said for got in receiver.got] == [
        (f"{path}/start", "full: brand"),
        (path, "2 new images"),
        (f"{path}/start", "quick: brand"),
        (f"{path}/fail", "the service cannot be reached"),
    ]
    assert {got.content_type for got in receiver.got} == {"text/plain; charset=utf-8"}
    first, second, third, fourth = (uuid.UUID(got.query.removeprefix("rid=")) for got in receiver.got)
    assert first == second != third == fourth


@pytest.mark.parametrize(
    ("url", "suffix", "expected"),
    [
        ("https://hc-ping.com/ab", "", "https://hc-ping.com/ab?"),
        ("https://hc-ping.com/ab", "/start", "https://hc-ping.com/ab/start?"),
        ("https://hc-ping.com/ab/", "/fail", "https://hc-ping.com/ab/fail?"),
        (
            "https://hc.example/key/slug%2F?create=1&a=%20",
            "/start",
            "https://hc.example/key/slug%2F/start?create=1&a=%20&",
        ),
        ("https://push.example/x/?status=up", "", "https://push.example/x/?status=up&"),
    ],
)
def test_the_query_of_an_address_stays(url: str, suffix: str, expected: str):
    """The signal goes behind the path, the run's id behind the query."""
    address = ping_address(url, suffix, RUN)
    assert address.startswith(f"{expected}rid=")
    assert uuid.UUID(address[-36:]).version == 5


async def test_text_is_redacted_before_it_is_cut(receiver: Receiver):
    """A token across the end must not survive because it is no longer recognised; no character is halved."""
    token = "eyJhbGciOiJIUzI1NiJ9" * 10
    text = "é" * ((LONGEST_BODY - 30) // 2) + f" Bearer {token} " + "é" * 100
    async with notifying(addressed(receiver)) as notifier:
        notifier.ended("run", True, text)
        notifier.ended("run", True, "half a character \udce9, Bearer abcdef123456")

    long, short = (got.body.decode() for got in receiver.got)
    assert LONGEST_BODY - 2 <= len(long.encode()) <= LONGEST_BODY
    assert "eyJ" not in long and "Bearer …" in long
    assert short == "half a character ?, Bearer …"


# --- the webhook --------------------------------------------------------------------------------------


async def test_a_change_of_state_is_described_as_documented(receiver: Receiver):
    """The example of the documentation is what arrives."""
    async with notifying(addressed(receiver)) as notifier:
        notifier.changed(OK, REFUSED, FACTS)

    (got,) = receiver.got
    assert (got.path, got.content_type) == (f"/webhook-{CANARY}", "application/json")
    (example,) = re.findall(r"^```json\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
    assert json.loads(got.body) == json.loads(example)


async def test_the_same_state_is_told_once(receiver: Receiver):
    """However long it lasts; another reason is another state, and so is the end of it."""
    later = State(datetime.now(UTC), REFUSED.cause)
    async with notifying(addressed(receiver)) as notifier:
        for before, after in [(OK, OK), (OK, REFUSED), (REFUSED, later), (later, FULL), (FULL, OK)]:
            notifier.changed(before, after, FACTS)

    told = [(document["state"], document["reason"]) for document in (json.loads(got.body) for got in receiver.got)]
    assert told == [("degraded", "credentials"), ("degraded", "archive"), ("ok", "")]


async def test_no_secret_is_in_the_webhook(receiver: Receiver):
    """Whatever the caller's words hold."""
    facts = Facts("Bearer abcdef123456", "run", (WorkspaceState("w", "https://x/?sig=abcdef"),))
    async with notifying(addressed(receiver)) as notifier:
        notifier.changed(OK, REFUSED, facts)
    assert b"abcdef" not in receiver.got[0].body


# --- what goes wrong ----------------------------------------------------------------------------------


async def test_a_failure_that_passes_is_tried_again(receiver: Receiver, logged):
    """After a pause, and without a word in the log; what comes later waits for it."""
    receiver.statuses = [500, 429, 200]
    pauses = Pauses()
    async with notifying(addressed(receiver), sleep=pauses) as notifier:
        notifier.ended("run-1", True, "first")
        notifier.ended("run-2", True, "second")

    assert [got.body for got in receiver.got] == [b"first", b"first", b"first", b"second"]
    assert pauses == [2.0, 10.0]
    assert logged() == []


async def test_a_receiver_that_keeps_failing_is_one_warning(receiver: Receiver, logged):
    """Three tries, then one line with channel, origin and reason; the next notice gets its own three."""
    receiver.statuses = [500] * 3
    async with notifying(addressed(receiver)) as notifier:
        notifier.changed(OK, REFUSED, FACTS)
        notifier.changed(REFUSED, OK, FACTS)

    assert len(receiver.got) == 4
    (warning,) = logged()
    assert {key: warning[key] for key in ("event", "level", "channel", "origin", "status")} == {
        "event": "notice.failed",
        "level": "warning",
        "channel": "webhook",
        "origin": receiver.url,
        "status": 500,
    }
    assert "now" in warning["reason"]


@pytest.mark.parametrize("status", [302, 307, 404])
async def test_what_is_final_is_not_tried_again(status: int, receiver: Receiver, logged):
    """A redirect least of all."""
    receiver.statuses = [status]
    async with notifying(addressed(receiver)) as notifier:
        notifier.began(RUN, "full")

    assert receiver.paths() == [f"/ping-{CANARY}/start"]
    assert [(line["event"], line["status"]) for line in logged()] == [("notice.failed", status)]


async def test_a_channel_that_hangs_holds_nobody(receiver: Receiver, logged):
    """The calls return, and the other channels deliver."""
    receiver.hang = "ping"
    async with notifying(addressed(receiver), patience=0.2) as notifier:
        notifier.began(RUN, "full")
        notifier.changed(OK, REFUSED, FACTS)
        assert receiver.got == []  # nothing but a note was made before we were back
        await receiver.reached.wait()

    assert f"/webhook-{CANARY}" in receiver.paths()
    assert [(line["channel"], line["reason"]) for line in logged()] == [("ping", "the answer did not come in time")]


async def test_the_oldest_give_way_when_too_many_wait(receiver: Receiver, logged):
    """They are counted, and the log says so once."""
    receiver.hang = "ping"
    async with notifying(addressed(receiver)) as notifier:
        notifier.began("0", "under way")
        await receiver.reached.wait()
        for number in range(LONGEST_QUEUE + 5):
            notifier.ended("run", True, str(number))
        assert notifier.dropped == 5
        receiver.released.set()

    assert [got.body.decode() for got in receiver.got] == ["under way", *map(str, range(5, LONGEST_QUEUE + 5))]
    assert [(line["event"], line["channel"]) for line in logged()] == [("notice.dropped", "ping")]


async def test_the_end_waits_only_so_long(receiver: Receiver, logged):
    """What cannot be delivered by then is given up, with a line that says so."""
    receiver.hang = "ping"
    async with notifying(addressed(receiver), closing_seconds=0.05) as notifier:
        notifier.began("run", "")
        notifier.ended("run", True, "")
        await receiver.reached.wait()

    (warning,) = logged()
    assert (warning["event"], warning["reason"], warning["waiting"]) == ("notice.failed", "stopped", 1)


async def test_a_pause_does_not_hold_the_end(receiver: Receiver, logged):
    """Neither does a try that is still to come."""
    receiver.statuses = [500]
    paused = asyncio.Event()

    async def pause(_seconds: float) -> None:
        paused.set()
        await asyncio.Event().wait()

    async with notifying(addressed(receiver), sleep=pause, closing_seconds=0.05) as notifier:
        notifier.began("run", "")
        await paused.wait()
    assert [line["reason"] for line in logged()] == ["stopped"]


async def test_the_callers_error_passes_unchanged(receiver: Receiver):
    """And what it said before is still delivered."""
    with pytest.raises(SyncerError, match="of the caller"):
        async with notifying(addressed(receiver)) as notifier:
            notifier.ended("run", False, "the last word")
            raise SyncerError("of the caller")
    assert [got.body for got in receiver.got] == [b"the last word"]


async def test_a_bug_does_not_silence_a_channel(logged):
    """It is an error in the log, and the next notice is sent."""
    sent = []

    class Broken:
        async def post(self, url: str, body: bytes, content_type: str) -> None:
            sent.append(body)
            if len(sent) == 1:
                raise ZeroDivisionError(url)

    settings = NotifySettings(ping_url=Secret(f"https://monitor.example/{CANARY}"))
    async with Notifier.open(settings, Broken(), {}) as notifier:
        notifier.ended("1", True, "one")
        notifier.ended("2", True, "two")

    assert sent == [b"one", b"two"]
    assert [(line["event"], line["level"], line["reason"]) for line in logged()] == [
        ("notice.failed", "error", "ZeroDivisionError")
    ]


async def test_without_channels_nothing_happens(receiver: Receiver, logged):
    """Each channel is its own choice."""
    async with notifying(NotifySettings()) as notifier:
        notifier.began(RUN, "full")
        notifier.ended(RUN, False, "failed")
        notifier.changed(OK, REFUSED, FACTS)
    assert (receiver.got, logged()) == ([], [])


async def test_the_addresses_become_known_secrets(receiver: Receiver, redactor: Forgetful):
    """Should anything else ever print them."""
    async with notifying(addressed(receiver)):
        pass
    assert redactor.told == [f"{receiver.url}/{name}-{CANARY}" for name in ("ping", "webhook")]


def test_every_reason_is_documented():
    """In the order of the exit codes."""
    table = DOCS.partition("| reason | what happened |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(Cause)
