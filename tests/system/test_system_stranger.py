"""Against a service with other habits than the simulator's: what the documentation leaves open must not matter."""

from __future__ import annotations

import gzip
import io
import json
import resource
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web
from outside import Outside, whole
from PIL import Image
from stranger import SIGNATURE, Piece, Stranger, certificate

IDS = (
    *(
        "a/b",
        "a%2Fb",
        "a\\b",
        "ünï",
        "u\u0308ni\u0308",
        "A",
        "a",
        "CON",
        "con.png",
        "x" * 300,
        "X" * 300,
        "trailing...",
    ),
    *(
        "..",
        ".",
        "...",
        " spaces ",
        "🖼",
        "-rf",
        "a?b#c",
        "manifest.db",
        "q&r=s;t+u",
        "😀" * 60,
        "new\nline",
        "%",
        "%zz",
    ),
    *("\u202eright to left", "journal", ".staging", "a.r2", "a.json", "=x", "~", "'\"$(id)", "7", "0x7"),
)
TIMES = (
    *("2026-03-01T01:30:00+02:00", "2026-03-01T08:00:00.123456789Z", "2026-03-01T08:00:00", "20260301T080000Z"),
    *(None, "", "yesterday", "1772352000", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"),
)


def picture(number: int, kind: str = "PNG") -> bytes:
    """A real picture, another one for each number."""
    buffer = io.BytesIO()
    Image.new("RGB", (16 + number, 9), (number * 5 % 256, 60, 120)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
async def stranger() -> AsyncIterator[Stranger]:
    """Two workspaces, one of them full of odd ids."""
    async with Stranger.start() as running:
        odd = {
            image: Piece(picture(n, ("PNG", "JPEG", "WEBP", "GIF")[n % 4]), {"updatedAt": TIMES[n % len(TIMES)]})
            for n, image in enumerate(IDS)
        }
        for n, piece in enumerate(odd.values()):
            piece.fields |= {"createdAt": TIMES[n % len(TIMES)], "prompt": None, "novelty": {"of": [n]}}
        running.shelves = {"team/eins ü": odd, "journal": {"a": Piece(picture(99), {"updatedAt": "x"})}}
        yield running


@pytest.fixture
def outside(stranger: Stranger, tmp_path: Path) -> Outside:
    """The command, configured for it."""
    return Outside(stranger.configure(tmp_path), lambda: ["canary-", SIGNATURE])


async def test_odd_ids_links_times_and_bodies_are_copied_byte_for_byte(stranger: Stranger, outside: Outside):
    """Every id has its own files under names that any file system takes; bytes and documents are as served."""
    ran = await outside.backup()

    assert (ran.code, ran.failures) == (0, {})
    held = whole(outside)
    odd = stranger.shelves["team/eins ü"]
    images = outside.images("workspace_id = 'team/eins ü'")
    assert set(images) == set(odd)
    for image, row in images.items():
        assert held["files"][row["path"]] == odd[image].body
        document = json.loads((outside.archive / row["sidecar"]).read_text())["document"]
        assert odd[image].fields.items() <= document.items()
        assert document["id"] == image
    names = [path.relative_to(outside.archive) for path in outside.archive.rglob("*")]
    assert len({str(name).casefold() for name in names}) == len(names), "names that differ only in case"
    assert all(len(part) < 200 and part.isascii() for name in names for part in name.parts)
    assert not any(part.rpartition(".")[0].lower() in {"con", "nul"} for name in names for part in name.parts)
    assert all(row["path"].count(".") == 1 for row in images.values()), "one image's files took another's name"
    assert "/2026/02/28/" in images["a/b"]["path"]  # 01:30 at +02:00 is the day before in UTC

    stranger.seen.clear()
    ran = await outside.backup()
    assert (ran.code, ran.counts) == (0, {"unchanged": len(odd) + 1})
    assert not any("/content" in path for _, path, _ in stranger.seen)


async def test_no_credential_leaves_the_apis_origin(stranger: Stranger, outside: Outside):
    """The store is asked with its signature alone: no token, no cookie, no secret in any header."""
    assert (await outside.backup()).code == 0

    at_store = [headers for where, _, headers in stranger.seen if where == "store"]
    assert len(at_store) >= 6
    assert all("canary" not in str(headers) for headers in at_store)
    assert all("Cookie" not in headers for _, _, headers in stranger.seen)
    for path in outside.archive.rglob("*"):
        if path.is_file():
            assert b"canary" not in path.read_bytes(), f"a signature or token stands in {path.name}"


@pytest.mark.slow
async def test_every_odd_id_can_be_shown(stranger: Stranger, outside: Outside):
    """An id is found as it is written, whatever a command line or a terminal makes of it."""
    assert (await outside.backup()).code == 0
    for image in ("a/b", "-rf", "🖼", "'\"$(id)", "new\nline"):
        ran = await outside("show", *(["--"] if image.startswith("-") else []), image)
        assert ran.code == 0, (image, ran.err)
    listed = await outside("list", "--json", "team/eins ü")
    assert {line["image_id"] for line in listed.lines if line["type"] == "image"} == set(IDS)
    plain = await outside("list")
    assert len(plain.out.splitlines()) == len(IDS) + 1, "an id with a line break makes two lines of one image"


async def test_changes_come_as_revisions_and_deletions_as_marks(stranger: Stranger, outside: Outside):
    """Another `updatedAt`, even an older or an emptier one, is a change; what is deleted is marked and kept."""
    assert (await outside.backup()).code == 0
    before = whole(outside)["files"]
    odd = stranger.shelves["team/eins ü"]
    odd["a/b"] = Piece(picture(70), {**odd["a/b"].fields, "updatedAt": "1999-01-01T00:00:00Z"})
    odd["A"].fields |= {"updatedAt": "later", "prompt": "only words"}
    del odd["CON"], odd["..."]
    stranger.shelves["team/eins ü"] = {"brand new": Piece(picture(71), {"updatedAt": "1"}), **odd}

    ran = await outside.backup()

    assert (ran.code, ran.counts) == (0, {"new": 1, "changed": 2, "unchanged": len(IDS) + 1 - 4, "gone": 2})
    held = whole(outside)
    assert before.items() <= held["files"].items()
    assert len(held["files"]) == len(before) + 2
    assert held["images"]["CON"] == ("gone", 1)
    assert held["images"]["A"] == ("live", 2)


@pytest.mark.slow
async def test_early_401_dated_429_and_a_gateways_html_are_lived_through(stranger: Stranger, outside: Outside):
    """Tokens that are good for nine requests, a pause until a date, 502 and 503 in HTML: complete in the end."""
    stranger.good_for = 9
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
    stranger.troubles = [
        web.json_response({"error": "slow down"}, status=429, headers={"Retry-After": soon}),
        web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html"),
        web.Response(status=503, text="", headers={"Retry-After": "0"}),
    ]
    outside.change("limits.downloads", 1)
    outside.change("limits.retries", 4)

    ran = await outside.backup()

    assert (ran.code, ran.counts) == (0, {"new": len(IDS) + 1})
    assert stranger.tokens < 12


def largest_child() -> int:
    """The most memory that a child of this process has had so far, in kilobytes."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


@pytest.mark.slow
async def test_a_bomb_is_met_by_the_limits(stranger: Stranger, outside: Outside):
    """A gigabyte out of one megabyte, as a picture and as a page: refused, not unpacked into memory."""
    before = largest_child()  # of whatever test ran in this process earlier
    bomb = gzip.compress(bytes(10_000_000), 1) * 100  # of many members, which is good gzip

    async def explode(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": "image/png"})

    stranger.content = explode
    outside.change("limits.image_bytes", "1MiB")
    ran = await outside.backup("journal")
    assert (ran.code, ran.counts) == (3, {"failed": 1})
    assert "larger" in ran.failures["a"]

    stranger.troubles = [web.Response(body=bomb, headers={"Content-Encoding": "gzip"}) for _ in range(9)]
    outside.change("limits.retries", 0)
    ran = await outside.backup("journal")
    assert ran.code == 8
    assert largest_child() <= max(before, 300_000), "a gigabyte was unpacked into memory"


async def test_the_way_never_leads_from_https_to_http(tmp_path: Path):
    """Also where the configuration names the origin: a redirect to plain http on another machine is refused."""
    trusted, context = certificate(tmp_path)
    async with Stranger.start(context) as stranger:
        stranger.shelves = {"w": {"a": Piece(b"", {"updatedAt": "1"}), "b": Piece(picture(1), {"updatedAt": "1"})}}
        plain = "http://192.0.2.9"

        async def down(request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": f"{plain}/picture.png"})

        stranger.content = down
        config = stranger.configure(tmp_path, ca_file=str(trusted), content_origins=[plain])
        ran = await Outside(config).backup()

    assert (ran.code, ran.counts) == (3, {"failed": 2})
    assert all("https to http" in reason for reason in ran.failures.values())


async def test_what_is_no_page_is_8_and_no_empty_workspace(stranger: Stranger, outside: Outside):
    """200 with something else than a page of rows: not understood, and never taken for "nothing there"."""
    deep = b'{"data": [' + b"[" * 100_000
    nonsense = (b"", b"null", b"[]", b'{"data": {}}', b'{"data": null}', b"{" * 100_000, deep, b"\xff\xfe")
    for number in range(len(nonsense)):
        outside.config.write_text(f'{outside.config.read_text()}\n[[workspaces]]\nid = "w{number}"')
    outside.change("limits.retries", 0)
    stranger.troubles = [web.Response(body=answer, content_type="application/json") for answer in nonsense]

    ran = await outside.backup(*(f"w{number}" for number in range(len(nonsense))))

    assert (ran.code, ran.counts) == (8, {})
    assert all(report["why"] for report in ran.summary["workspaces"])
    assert stranger.troubles == []
