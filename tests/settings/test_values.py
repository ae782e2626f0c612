"""What one setting's text means."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.settings import parse_duration, parse_size, values


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("4096", 4096),
        ("500k", 500_000),
        ("10 MB", 10_000_000),
        ("1GiB", 1 << 30),
        ("256mib", 256 << 20),
        ("1.5 KiB", 1536),
        ("2T", 2 * 10**12),
        ("7b", 7),
    ],
)
def test_size_counts_in_thousands_unless_it_says_binary(text: str, count: int) -> None:
    """MB is 1000², MiB is 1024², whatever the case and the spaces."""
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text", ["", "GiB", "-1", "1 iB", "1e3", "1,5k", "1 2", "\u0661k", "1k\n2", "inf", "9" * 40, "1PiB", "k1"]
)
def test_size_that_is_none_is_refused(text: str) -> None:
    """What could be read in two ways is not read at all, and not repeated."""
    with pytest.raises(ValueError, match=r"^want a size such as 500k, 256MiB or 1GiB$"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("90s", 90), ("15m", 900), ("26h", 93_600), ("1d", 86_400), ("2w", 1_209_600), ("300", 300), ("0.5", 0.5)],
        *[("1h30m", 5400), ("1h 30m", 5400), (" 1.5h ", 5400), ("1d 2h 3m 4s", 93_784)],
    ],
)
def test_duration_adds_its_units(text: str, seconds: float) -> None:
    """Units stand from the largest to the smallest; a number alone is seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "h", "-5s", "1h1h", "5m1h", "1y", "15M", "1e3", "nan", "1:30", "\u0663s", "5 5"]
)
def test_duration_that_is_none_is_refused(text: str) -> None:
    """What could be read in two ways is not read at all, and not repeated."""
    with pytest.raises(ValueError, match=r"^want a duration such as 90s, 15m, 26h or 1d$"):
        parse_duration(text)


@given(st.integers(0, 10**12 - 1), st.sampled_from(["", "k", "M", "G", "T"]), st.booleans(), st.sampled_from(["", " "]))
def test_every_written_size_is_read_back(number: int, unit: str, binary: bool, space: str) -> None:
    """Any number with any unit gives exactly that many bytes."""
    text = f"{number}{space}{unit}{'iB' if unit and binary else 'B'}"

    assert parse_size(text) == number * (1024 if binary else 1000) ** ("kMGT".index(unit) + 1 if unit else 0)


@given(st.integers(0, 10**9))
def test_every_written_duration_is_read_back(seconds: int) -> None:
    """A duration spelt out in all units gives the seconds it was made of."""
    minutes, s = divmod(seconds, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)

    assert parse_duration(f"{days}d{h}h {m}m{s}s") == seconds


@given(st.text() | st.from_regex(r"[0-9.]{0,5} ?[kmgtibwdhs]{0,3}", fullmatch=True))
def test_any_text_is_a_size_and_duration_or_a_value_error(text: str) -> None:
    """No text gives a negative or endless value, or another error."""
    for parse in (parse_size, parse_duration):
        try:
            read = parse(text)
        except ValueError as error:
            assert str(error).startswith("want a ")
        else:
            assert read >= 0
            assert math.isfinite(read)


@pytest.mark.parametrize(
    ("given_line", "kept"),
    [
        ("", ""),
        ("15m", "15m"),
        ("1d", "1d"),
        ("*/15 * * * *", "*/15 * * * *"),
        ("30 2 * * *", "30 2 * * *"),
        ("30  2 1,15 * *", "30 2 1,15 * *"),
        ("0 3 * * 0", "0 3 * * sun"),
        ("0 3 * * 7", "0 3 * * sun"),
        ("0 3 * * 1-5", "0 3 * * mon,tue,wed,thu,fri"),
        ("0 3 * * 5-7", "0 3 * * fri,sat,sun"),
        ("0 3 * * */2", "0 3 * * sun,tue,thu,sat"),
        ("0 3 * * 1,SAT", "0 3 * * mon,sat"),
        ("0 3 * * mon-fri", "0 3 * * mon-fri"),
    ],
)
def test_schedule_days_of_the_week_become_names(given_line: str, kept: str) -> None:
    """0 and 7 are Sunday, as in every crontab, so no scheduler can take them for Monday."""
    assert values.schedule(given_line) == kept


@pytest.mark.parametrize(
    ("line", "want"),
    [
        ("daily", "five fields"),
        ("* * *", "five fields"),
        ("61 * * * *", "five fields"),
        ("0 3 * * 8", "five fields"),
        ("15", "an interval"),
        ("0s", "an interval"),
        ("367d", "an interval"),
        ("0 0 30 2 *", "never comes"),
        ("0 3 1 * 1", "not both"),
        ("0 3 * * 5-1", "rising order"),
        (15, "an interval"),
        (None, "an interval"),
    ],
)
def test_schedule_that_would_not_run_as_meant_is_refused(line: object, want: str) -> None:
    """Better no start than a daemon whose schedule never comes."""
    with pytest.raises(ValueError, match=want):
        values.schedule(line)


@pytest.mark.parametrize(
    ("given_url", "kept"),
    [
        ("https://app.neuroflash.com/api", "https://app.neuroflash.com/api"),
        ("https://app.neuroflash.com/api///", "https://app.neuroflash.com/api"),
        ("HTTPS://host:8443/", "https://host:8443"),
        ("http://127.0.0.1:8080/api", "http://127.0.0.1:8080/api"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_address_loses_its_last_slash(given_url: str, kept: str) -> None:
    """Paths are appended to it; http is for this machine alone."""
    assert values.api_address(given_url) == kept


@pytest.mark.parametrize(
    ("url", "want"),
    [
        ("http://example.com", "in the clear"),
        ("http://127.0.0.1.example.com", "in the clear"),
        ("http://localhost.example.com", "in the clear"),
        ("https://me:pass@example.com", "no user or password"),
        ("https://me@example.com", "no user or password"),
        ("https://example.com/?key=1", "no query or fragment"),
        ("https://example.com/?", "no query or fragment"),
        ("https://example.com/#part", "no query or fragment"),
        ("ftp://example.com", "an address such as"),
        ("example.com", "an address such as"),
        ("https://", "an address such as"),
        ("https://:443", "an address such as"),
        ("https://example.com:port", "an address such as"),
        ("https://example.com:99999", "an address such as"),
        ("https://[::1", "an address such as"),
        ("https://exa mple.com", "an address such as"),
        ("https://example\n.com", "an address such as"),
        ("", "an address such as"),
        (5, "an address such as"),
    ],
)
def test_address_that_would_give_something_away_is_refused(url: object, want: str) -> None:
    """No http beyond this machine, no password, nothing that is printed otherwise than it is asked."""
    with pytest.raises(ValueError, match=want):
        values.api_address(url)


def test_origin_has_no_path() -> None:
    """A content origin is scheme, host and port, whatever the case; its last slash does no harm."""
    assert values.origin("https://Storage.Example:8443/") == "https://storage.example:8443"
    for wrong in ("https://storage.example/bucket", "*", "storage.example"):
        with pytest.raises(ValueError, match="such as https://"):
            values.origin(wrong)


@pytest.mark.parametrize(
    ("url", "want"),
    [
        ("http://hc.example/id", "in the clear"),
        ("https://hook.example/#id", "no fragment"),
        ("https://hook.example:port/", "an address such as"),
        ("https://hook.example/a b", "an address such as"),
        ("mailto:me@example.com", "an address such as"),
        (None, "an address such as"),
    ],
)
def test_address_of_a_notice_is_as_private_as_a_secret(url: object, want: str) -> None:
    """It may hold a query or a password, and so it goes over http on this machine alone."""
    for kept in ("https://me:pass@HOOK.example/?key=1", "http://localhost:1/id/", "https://hc.example"):
        assert values.notice_address(kept) == kept
    with pytest.raises(ValueError, match=want):
        values.notice_address(url)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        (" 0.0.0.0:80 ", ("0.0.0.0", 80)),
        ("localhost:0", ("localhost", 0)),
        ("metrics-1.example.com:65535", ("metrics-1.example.com", 65535)),
        ("[::1]:9464", ("::1", 9464)),
        ("", None),
        (" ", None),
    ],
)
def test_place_to_listen_is_a_host_and_a_port(text: str, place: tuple[str, int] | None) -> None:
    """An IPv6 address stands in brackets; port 0 is any free one, and no text at all is nowhere."""
    assert values.listen(text) == place


@pytest.mark.parametrize(
    "text",
    [
        *["9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:http"],
        *["::1:9464", "[127.0.0.1]:1", "[::1]", "[localhost]:1", "300.0.0.1:1", "1.2.3:1", "*:1", "a b:1", "-a:1"],
        *["http://localhost:1", "me@localhost:1", "localhost:1/metrics", "\u0663.example:1", "localhost:\u0663"],
    ],
)
def test_place_to_listen_that_leaves_a_doubt_is_refused(text: str) -> None:
    """A daemon that answers elsewhere than it was told looks dead, or is open to others."""
    with pytest.raises(ValueError, match=r"^want host:port such as 127\.0\.0\.1:9464 or \[::1\]:9464$"):
        values.parse_listen(text)


@given(st.text() | st.from_regex(r"\[?[0-9a-f:.]{0,9}\]?:[0-9]{0,6}", fullmatch=True))
def test_any_text_is_a_place_to_listen_or_a_value_error(text: str) -> None:
    """No text gives a port that there is not, or another error."""
    try:
        host, port = values.parse_listen(text)
    except ValueError as error:
        assert str(error).startswith("want ")
    else:
        assert host
        assert 0 <= port < 65536


def test_jitter_may_be_none_and_at_most_a_day() -> None:
    """Both 0 and "" are none; a start that is put off for longer would not come in its turn."""
    assert [values.delay(given) for given in ("30s", 90, "1d", 0, "", " ", "0s")] == [30, 90, 86_400, 0, 0, 0, 0]
    for wrong in ("86401s", 86_401, float("inf"), True, None, "9" * 12 + "w"):
        with pytest.raises(ValueError, match=r"^want a "):
            values.delay(wrong)


def test_socket_has_a_path_that_fits_into_an_address() -> None:
    """The system would refuse a longer one at the start, when nobody thinks of the configuration any more."""
    fits = "/" + "s" * 106

    assert values.socket(fits) == Path(fits)
    for wrong in (fits + "s", "/" + "\u00e4" * 54):
        with pytest.raises(ValueError, match="at most 107 bytes"):
            values.socket(wrong)
