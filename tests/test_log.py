"""Nothing secret is printed: not in lines for people, not in JSON, not to journald, not by a library or a traceback."""

from __future__ import annotations

import io
import json
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st
from logs import logging_as_before

from syncer import log, redaction
from syncer.redaction import BLANK, Redactor, redact

SECRET = "s3cr3t-of-the-test-0b9f"
IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Each test configures the log anew."""
    with logging_as_before():
        yield


@pytest.fixture(params=["console", "json", "journald", "no journald"])
def printed(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[[], str]]:
    """Configure the log in one of its forms; call for what it has written, all of it, since."""
    form = request.param
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        if form == "journald":
            journald.bind(str(tmp_path / "journal"))
        journald.setblocking(False)
        log.configure(
            level="debug", json=form == "json", journal=tmp_path / "journal" if form.endswith("journald") else None
        )

        def read() -> str:
            out, err = capsys.readouterr()
            assert out == "", "logs belong on stderr"
            assert form != "journald" or err == "", "what journald took is not said twice"
            try:
                while form == "journald":
                    err += journald.recv(1 << 20).decode()
            except BlockingIOError:
                pass
            return err

        yield read


# --- what looks like a secret -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"Authorization: Bearer {SECRET}", "Authorization: Bearer …"),
        (f"bearer {SECRET}.{SECRET}==", "bearer …"),
        (f"Basic {SECRET}", "Basic …"),
        (f"grant_type=client_credentials&client_secret={SECRET}&scope=openid", "scope=openid"),
        (f'{{"access_token": "{SECRET}", "expires_in": 14399}}', '"expires_in": 14399'),
        (f"{{'refresh_token': '{SECRET}'}}", "refresh_token"),
        (f"https://store/a.png?X-Goog-Date=1&X-Goog-Signature={SECRET}", "https://store/a.png?X-Goog-Date=1"),
        (f"https://store/a.png?X-Amz-Credential={SECRET}&x=1", "&x=1"),
        (f"https://store/a.png?X-Amz-Security-Token={SECRET}", "https://store/a.png"),
        (f"https://blob/a.png?se=2026&sig={SECRET}&sp=r", "&sp=r"),
        (f"https://store/a.png?token={SECRET}", "https://store/a.png?token=…"),
        (f"GET https://store/?key={SECRET} HTTP/1.1", "HTTP/1.1"),
        (f'{{"imageUrl": "data:image/png;base64,{IMAGE}{SECRET.replace("-", "/")}"}}', '{"imageUrl": "data:…"}'),
    ],
)
def test_what_looks_like_a_secret_is_blanked(text: str, kept: str):
    """Its shape gives it away, whether or not it is known; what stands around it stays readable."""
    redacted = Redactor()(text)

    assert SECRET not in redacted
    assert SECRET.replace("-", "/") not in redacted
    assert BLANK in redacted
    assert kept in redacted


@pytest.mark.parametrize(
    "text",
    [
        "the page did not arrive (workspace=5f0c, page=3)",
        "https://app.neuroflash.com/api/image-service/v1/workspaces/5f0c/images?page=2&size=200",
        "monkey=banana, tokens: 12, basic checks, a bearer of news",
        "data: 4,096 bytes",
        "sha256=" + "ab" * 32,
    ],
)
def test_ordinary_words_stay(text: str):
    """A log that blanks what an operator needs is no log."""
    assert Redactor()(text) == text


_PIECES = ["Bearer", "bearer", "BASIC", "ba\u017fic", "acce\u017f\u017f_to\u212aen", "client_\u017fecret", "id_token"]
_PIECES += [
    "PassWord",
    "toKen",
    "\u212aey",
    "X-Signature",
    "data:image/png;base64,",
    "DATA:a/b;BASE64,",
    *" =:?&;'\"\n",
]
_PIECES += ["\u2003", "abcdefgh" * 3, "é", "https://store/a.png", "refresh_token", "_token"]


@example("ba\u017fic " + "abcdefgh" * 3)
@example("client_\u017fecret=abc")
@given(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join))
def test_text_without_a_trace_of_a_shape_is_passed_over_rightly(text: str):
    """To look for a trace first changes nothing but the time, also where more than two letters are the same."""
    thorough = text
    for shape, instead, _ in redaction._SHAPES:
        thorough = shape.sub(instead, thorough)
    assert Redactor()(text) == thorough


# --- what is known to be one --------------------------------------------------------------------------


def texts(value: object) -> Iterator[str]:
    """Every text inside a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from texts([*value, *value.values()])
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)


@given(st.text(min_size=4), st.text(), st.text())
def test_a_learned_secret_never_passes(secret: str, before: str, after: str):
    """Wherever it stands in a text or in a value of any shape."""
    redact = Redactor()
    redact.learn(secret)

    told = redact(before + secret + after)
    shaped = redact.value({"a": [before + secret, (secret, {secret: secret + after})], secret: {"b": {secret}}})

    assert secret not in told
    assert all(secret not in text for text in texts(shaped))


@given(st.lists(st.text("ab", min_size=4), min_size=2, max_size=4))
def test_secrets_inside_secrets_never_pass(secrets: list[str]):
    """One that is a part of another does not leave the rest of it standing."""
    redact = Redactor()
    for secret in secrets:
        redact.learn(secret)

    assert "a" not in redact("-".join(secrets))
    assert "b" not in redact("-".join(secrets))


@pytest.mark.parametrize("text", [repr(KeyError("it's\n\\hidden")), "secret=it%27s%0A%5Chidden&x=1"])
def test_a_learned_secret_is_known_in_other_spellings(text: str):
    """As an error shows it, and as a form carries it."""
    redact = Redactor()
    redact.learn("it's\n\\hidden")

    assert "hidden" not in redact(text)


def test_numbers_stay_numbers():
    """JSON readers sum them up."""
    value = {"bytes": 12, "seconds": 0.5, "complete": True, "why": None}
    assert Redactor().value(value) == value


# --- the log itself -----------------------------------------------------------------------------------


def test_no_event_shows_a_secret(printed: Callable[[], str]):
    """Neither in its facts, nor nested inside them, nor in what was bound before."""
    redact.learn(SECRET)
    with structlog.contextvars.bound_contextvars(run=f"run-{SECRET}"):
        structlog.get_logger().bind(bound=SECRET).warning(
            "image.failed", nested={"headers": [("Authorization", f"Bearer {SECRET}")]}, other=Exception(SECRET)
        )

    text = printed()
    assert "image.failed" in text
    assert "Authorization" in text
    assert SECRET not in text


def test_a_librarys_records_take_the_same_way(printed: Callable[[], str]):
    """Their arguments are theirs to format, and ours to redact."""
    redact.learn(SECRET)

    logging.getLogger("some.package").warning("answered %s to %r", 401, {"Authorization": f"Bearer {SECRET}"})

    text = printed()
    assert "answered 401" in text
    assert SECRET not in text


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "a library's"])
def test_a_traceback_shows_no_secret_and_no_locals(printed: Callable[[], str], ours: bool):
    """The error's own words are redacted, its causes' too, and what the frames hold is not shown at all."""
    redact.learn(SECRET)
    in_the_frame = f"not known to anybody: {id(printed)}"
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(f"client_secret={SECRET}") from error
    except ValueError:
        if ours:
            structlog.get_logger().exception("bug.met")
        else:
            logging.getLogger("some.package").exception("bug.met")

    text = printed()
    assert "bug.met" in text
    assert "ValueError" in text
    assert "KeyError" in text
    assert "test_log.py" in text
    assert SECRET not in text
    assert in_the_frame not in text


def only_ours() -> None:
    """Take away the handlers of the tests' own runner: they raise where ours must not."""
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if type(handler).__module__ == log.__name__]


def test_a_line_that_cannot_be_made_shows_no_arguments(printed: Callable[[], str]):
    """The standard library would print them, unredacted; we say whose line it was."""
    only_ours()
    redact.learn(SECRET)

    logging.getLogger("some.package").warning("%d images", SECRET)

    text = printed()
    assert "log.unreadable" in text
    assert "some.package" in text
    assert "TypeError" in text
    assert SECRET not in text


@pytest.mark.parametrize("journald", [True, False], ids=["no journald", "console"])
def test_a_stderr_that_cannot_be_written_shows_no_arguments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, journald: bool
):
    """Whatever is the matter with it, the record's arguments are not shown instead, and nobody is disturbed."""
    log.configure(journal=tmp_path / "nowhere" if journald else None)
    only_ours()
    redact.learn(SECRET)
    written = io.BytesIO()
    ascii_only = io.TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(sys, "stderr", ascii_only)

    logging.getLogger("some.package").warning("ä %s", SECRET)
    ascii_only.flush()

    assert written.getvalue() == b""


def test_json_lines_are_json(capsys: pytest.CaptureFixture[str]):
    """One object a line, with the time, the level and the facts under their names."""
    log.configure(json=True)

    structlog.get_logger().info("image.stored", image="ä", bytes=12, notes=["a\nb"])
    logging.getLogger("some.package").error("oops")

    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert ours.pop("timestamp").endswith("Z")
    assert ours == {"event": "image.stored", "level": "info", "image": "ä", "bytes": 12, "notes": ["a\nb"]}
    assert (theirs["event"], theirs["level"]) == ("oops", "error")


def test_the_level_holds_for_all(capsys: pytest.CaptureFixture[str]):
    """What is below it is not printed, whoever says it; noisy libraries stay below warning at every level."""
    log.configure(level="warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("some.package").info("quiet")
    log.configure(level="debug")
    logging.getLogger("aiohttp.access").info("quiet")
    logging.getLogger("apscheduler.executors").debug("quiet")

    assert capsys.readouterr().err == ""


def test_the_log_follows_stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Progress bars put something of theirs in its place, and lines have to go above them."""
    log.configure()
    monkeypatch.setattr(sys, "stderr", sys.stdout)

    structlog.get_logger().info("pass.began")

    assert "pass.began" in capsys.readouterr().out


def test_control_characters_from_outside_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]):
    """An id with an escape sequence is printed without its power."""
    log.configure(level="info")

    structlog.get_logger().info("image.stored", image="evil\x1b]0;own\x07\x1b[2J")

    printed = capsys.readouterr().err
    assert "evil" in printed
    assert "\x1b" not in printed
    assert "\x07" not in printed


def test_characters_no_terminal_should_get_are_escaped_in_json(capsys: pytest.CaptureFixture[str]):
    """JSON lines are read on terminals too; what is read back from them is the same."""
    name = "evil\x9b2J\x7f\u2028\U000e0001\ud800 ä 🖼"
    log.configure(json=True)

    structlog.get_logger().info("image.stored", image=name)

    line = capsys.readouterr().err.removesuffix("\n")
    assert line.isprintable()
    assert "ä 🖼" in line
    assert json.loads(line)["image"] == name


def test_of_tokens_only_the_latest_are_remembered():
    """They are renewed for years; what the configuration holds is never forgotten."""
    redactor = Redactor()
    redactor.learn("the-client-secret")
    for number in range(1000):
        redactor.learn(f"token-{number:04}", passing=True)

    assert redactor("the-client-secret token-0999 token-0990") == "… … …"
    assert redactor("token-0001") == "token-0001"
    assert len(redactor._known) < 200
