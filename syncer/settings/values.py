"""Read one setting's text as a value: sizes, durations, addresses, schedules, places to listen at.

Each reader takes what a TOML file, an environment variable or the command line may hold, and gives the value or
raises `ValueError` with what it wants ("want a whole number above 0"). No message repeats what was given: whether
that may be shown is for `settings` to judge, since it may be a secret in the wrong place.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

QUICK = "*/15 * * * *"
FULL = "0 3 * * *"
LISTEN = ("127.0.0.1", 9464)

_DAY = 86_400
_YEAR = 366 * _DAY
_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,9})?"
_SIZE = re.compile(rf"({_NUMBER})\s*(?:([kmgt])(i?))?b?", re.IGNORECASE | re.ASCII)
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER})\s*{unit}\s*)?" for unit in _SECONDS), re.ASCII)
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*", re.ASCII)
_SOCKET_BYTES = 107  # Linux holds no longer path of a socket, beside the zero at its end
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY_ITEM = re.compile(r"(?:\*|([0-7])(?:-([0-7]))?)(?:/([1-9]))?", re.ASCII)


def parse_size(text: str) -> int:
    """Read "1GiB", "256 MiB", "10MB", "500k" or "4096" as bytes; without the "i", a unit is a power of 1000."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("want a size such as 500k, 256MiB or 1GiB")
    number, unit, binary = match.groups()
    power = "kmgt".index(unit.lower()) + 1 if unit else 0
    return int(Decimal(number) * (1024 if binary else 1000) ** power)


def parse_duration(text: str) -> float:
    """Read "90s", "15m", "26h", "1d" or "1h 30m" as seconds; a number alone is seconds."""
    text = text.strip()
    if re.fullmatch(_NUMBER, text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError("want a duration such as 90s, 15m, 26h or 1d")
    return float(sum(Decimal(number) * _SECONDS[unit] for unit, number in match.groupdict().items() if number))


def whole(least: int) -> Callable[[object], int]:
    """Give the reader of whole numbers that are at least `least`."""
    want = "want a whole number above 0" if least == 1 else f"want a whole number, {least} or more"

    def read(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value.strip()):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(want)
        return value

    return read


def number(value: object) -> float:
    """Read a number that is not negative."""
    return _finite(value, "want a number, 0 or more")


def percent(value: object) -> float:
    want = "want a number from 0 to 100"
    share = _finite(value, want)
    if share > 100:
        raise ValueError(want)
    return share


def _finite(value: object, want: str) -> float:
    if isinstance(value, str) and re.fullmatch(_NUMBER, value.strip()):
        value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 10**12:  # nan is neither
        raise ValueError(want)
    return float(value)


def size(value: object) -> int:
    return parse_size(value) if isinstance(value, str) else whole(0)(value)


def some_size(value: object) -> int:
    """Read a size of which 0 would make no sense."""
    if (count := size(value)) == 0:
        raise ValueError("want a size above 0")
    return count


def seconds(value: object) -> float:
    """Read a duration of which 0 would make no sense."""
    length = parse_duration(value) if isinstance(value, str) else number(value)
    if length == 0:
        raise ValueError("want a duration above 0")
    return length


def delay(value: object) -> float:
    """Read a duration of up to a day; 0 and "" are none."""
    if isinstance(value, str) and not value.strip():
        return 0.0
    length = parse_duration(value) if isinstance(value, str) else number(value)
    if length > _DAY:
        raise ValueError("want a duration up to 1d, or 0 for none")
    return length


def flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    match str(value).strip().lower() if isinstance(value, str) else None:
        case "true" | "yes" | "on" | "1":
            return True
        case "false" | "no" | "off" | "0":
            return False
        case _:
            raise ValueError("want true or false")


def text(value: object) -> str:
    if not isinstance(value, str) or not value or value != value.strip() or not value.isprintable():
        raise ValueError("want one line of text without spaces around it")
    return value


def one_of(*words: str) -> Callable[[object], str]:
    """Give the reader of one of these words."""
    want = f"want {', '.join(words[:-1])} or {words[-1]}"

    def read(value: object) -> str:
        if value not in words:
            raise ValueError(want)
        return str(value)

    return read


def command(value: object) -> str:
    """Read a command line. It is run without a shell, so all that can be wrong with it here is a quote left open."""
    line = text(value)
    try:
        shlex.split(line)
    except ValueError:
        raise ValueError("want a command line; a quotation mark is left open") from None
    return line


def location(value: object) -> Path:
    """Read a path that has been made absolute."""
    if not isinstance(value, str | Path) or not str(value).strip() or not str(value).isprintable():
        raise ValueError("want a path")
    path = Path(value)
    if not path.is_absolute():
        raise ValueError("want a path; there is no such user as the one after ~")
    return path


def socket(value: object) -> Path:
    """Read a path that a Unix socket can have."""
    path = location(value)
    if len(bytes(path)) > _SOCKET_BYTES:
        raise ValueError(f"want a path of at most {_SOCKET_BYTES} bytes; no socket has a longer one")
    return path


def parse_listen(text: str) -> tuple[str, int]:
    """Read "127.0.0.1:9464", "localhost:0" or "[::1]:9464" as host and port; port 0 is any that is free."""
    host, colon, digits = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    port = int(digits) if re.fullmatch(r"[0-9]{1,5}", digits) else -1
    if not colon or not 0 <= port < 1 << 16 or not _is_host(host, bracketed=bracketed):
        raise ValueError("want host:port such as 127.0.0.1:9464 or [::1]:9464")
    return host, port


def _is_host(host: str, *, bracketed: bool) -> bool:
    try:
        return (ip_address(host).version == 6) == bracketed
    except ValueError:  # a name; its last part is no number, or it would be an address with a slip in it
        return not bracketed and bool(_HOST.fullmatch(host)) and not host.rpartition(".")[2].isdigit()


def listen(value: object) -> tuple[str, int] | None:
    """Read where to listen; "" is nowhere."""
    if not isinstance(value, str):
        raise ValueError('want host:port such as 127.0.0.1:9464, or ""')
    return parse_listen(value) if value.strip() else None


def api_address(value: object) -> str:
    """Read an address that is given the token or the secret, so it is https unless it stays on this machine."""
    parts = _bare_address(value)
    _keep_private(parts, "the credentials")
    return parts.geturl().rstrip("/")


def notice_address(value: object) -> str:
    """Read an address that is a secret itself, as those of webhooks are: it may have a query, a user, a password."""
    parts = _address(value)
    _keep_private(parts, "the address, which is a secret,")
    if "#" in str(value):
        raise ValueError("want no fragment in the address: what stands behind # is not sent")
    return str(value)  # to the letter: whoever gave it out knows what its parts mean


def origin(value: object) -> str:
    """Read scheme, host and port, such as `https://storage.googleapis.com`."""
    parts = _bare_address(value)
    if parts.path not in ("", "/"):
        raise ValueError("want an origin alone, such as https://storage.googleapis.com, without a path")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _address(value: object) -> SplitResult:
    want = "want an address such as https://host/path"
    # urlsplit drops line breaks and tabs without a word, so what is printed would not be what is asked.
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        raise ValueError(want)
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises when it is not a number below 65536
    except ValueError:
        raise ValueError(want) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(want)
    return parts


def _bare_address(value: object) -> SplitResult:
    parts = _address(value)
    if "@" in parts.netloc:
        raise ValueError("want no user or password in the address")
    if "?" in str(value) or "#" in str(value):
        raise ValueError("want no query or fragment in the address")
    return parts


def _keep_private(parts: SplitResult, what: str) -> None:
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError(f"want https: over http {what} would travel in the clear")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def schedule(value: object) -> str:
    """Read a cron line, an interval, or "" for never. Days of the week become names, which leave no doubt.

    In a crontab 0 and 7 are Sunday; APScheduler counts from Monday. And where a crontab runs on either of a day of
    the month and a day of the week, APScheduler runs only when both agree. The first is translated, the second refused.
    """
    if not isinstance(value, str):
        raise ValueError('want a cron line such as "0 3 * * *", an interval such as "15m", or ""')
    line = value.strip()
    if line in ("", QUICK, FULL):
        return line  # the defaults need no proof, and importing it takes longer than the rest of this module
    fields = line.split()
    if len(fields) != 5:
        return _interval(line)
    if fields[2] != "*" and fields[4] != "*":
        raise ValueError("want a day of the month or a day of the week, not both")
    fields[4] = ",".join(_weekdays(item) for item in fields[4].lower().split(","))
    line = " ".join(fields)
    _prove(line)
    return line


def _interval(line: str) -> str:
    try:
        if line[-1].isalpha() and 1 <= parse_duration(line) <= _YEAR:  # a bare number says nothing of its unit
            return line
    except ValueError:
        pass
    raise ValueError('want a cron line of five fields such as "0 3 * * *", an interval from "1s" to "366d", or ""')


def _weekdays(item: str) -> str:
    match = _DAY_ITEM.fullmatch(item)
    if item == "*" or match is None:
        return item
    first, last, step = match.groups()
    start = int(first or 0)
    end = int(last) if last else start if first and not step else 6
    days = [_DAYS[day % 7] for day in range(start, end + 1, int(step or 1))]
    if not days:
        raise ValueError("want days of the week in rising order, such as 1-5")
    return ",".join(days)


def _prove(line: str) -> None:
    from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]  # it ships no types

    try:
        trigger = CronTrigger.from_crontab(line, timezone=UTC)
    except ValueError:
        raise ValueError("want a cron line of five fields: minute, hour, day, month, day of the week") from None
    if trigger.get_next_fire_time(None, datetime(2026, 1, 1, tzinfo=UTC)) is None:
        raise ValueError("want a cron line that some day fulfils; this one never comes")
