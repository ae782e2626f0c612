"""The reference pages are true: their tables are the code's, and what they say to run can be run."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database
from support import back_up
from support import rows as rows_of

from syncer.archive.journal import Journal, read
from syncer.archive.layout import encode
from syncer.cli.delivering import as_json
from syncer.cli.exit_codes import MEANINGS
from syncer.inbox import names
from syncer.manifest import migrations
from syncer.model import UploadState, Workspace
from syncer.operations import chronicle
from syncer.operations.parcels import Delivered, Kind, Parcel
from syncer.settings import Settings
from syncer.simulator.server import Simulator

DOCS = Path(__file__).parents[1] / "docs"
ARCHIVE, MANIFEST, EXIT_CODES, UPLOADS = (
    (DOCS / f"{name}.md").read_text() for name in ("archive-format", "manifest", "exit-codes", "uploads")
)


def rows(page: str) -> list[tuple[str, str]]:
    """The first two cells of each row of a page's tables, without their backticks."""
    found = re.findall(r"^\| `?(.+?)`? \| `?(.+?)`? (?=\|)", page, re.MULTILINE)
    return [row for row in found if not row[0].startswith("---")]


def section(page: str, title: str) -> str:
    """What stands under a heading, up to the next one."""
    return re.split(r"^#+ ", page.partition(f"# {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


# --- tables -------------------------------------------------------------------------------------------


def test_every_exit_code_is_documented():
    """In the words of each command's help."""
    assert [row for row in rows(EXIT_CODES) if row[0].isdigit()] == [(str(k), v) for k, v in MEANINGS.items()]


def test_every_table_and_column_is_documented():
    """In the order in which the database has them; and nothing that is not there."""
    db = Database(memory=True)
    migrations.MIGRATIONS.apply(db)
    there = {table.name: list(table.columns_dict) for table in db.tables if not table.name.startswith("_")}
    db.close()

    titles = re.findall(r"^## `(\w+)`$", MANIFEST, re.MULTILINE)
    told = {title: [name for name, _ in rows(section(MANIFEST, f"`{title}`")) if name != "column"] for title in titles}

    assert told == there


def test_every_state_of_an_upload_is_documented():
    """Where they are explained, and where the table is."""
    (states,) = re.findall(r"^The states: (.*?)\n\n", section(MANIFEST, "`uploads`"), re.MULTILINE | re.DOTALL)

    assert {name for name, _ in rows(section(UPLOADS, "States")) if name != "state"} == set(UploadState)
    assert set(re.findall(r"`(\w+)`", states)) == set(UploadState)


def test_every_name_that_is_passed_over_is_documented():
    """All endings that mark a file as unfinished, and none that does not."""
    told = set(re.findall(r"`\*(\S+?)`", section(UPLOADS, "The watch folder")))

    assert told == {"~", *names._UNFINISHED}
    assert all(names.ignored(f"kite{ending}") for ending in told)


def test_the_line_of_an_upload_is_documented():
    """With all its keys, in their order."""
    (told,) = re.findall(r'`\{("type":"upload",.*?)\}`', UPLOADS)
    line = as_json(Delivered(Kind.UPLOADED, Parcel(Workspace("w"), "kite.png")), dry=False)

    assert re.findall(r'"(\w+)"', told.replace(':"upload"', "")) == list(line)


async def test_every_field_of_a_sidecar_is_documented(settings: Settings):
    """In its order."""
    await back_up(settings)
    sidecar = next(settings.archive.path.rglob("2*/*.json"))

    assert [name for name, _ in rows(section(ARCHIVE, "Sidecars")) if name != "field"] == list(
        json.loads(sidecar.read_text())
    )


def test_every_event_of_the_journal_is_documented():
    """Those that are written and read back, and no others."""
    spelled = set(re.findall(r'"((?:archive|workspace|image)\.[a-z]+)"', inspect.getsource(chronicle)))
    spelled |= {f"upload.{state}" for state in UploadState}

    told = re.findall(r"`((?:archive|workspace|image|upload)\.[a-z]+)`", section(ARCHIVE, "The journal"))

    assert set(told) == spelled


def test_the_examples_of_names_are_true():
    """Each id has the name that stands beside it."""
    examples = [row for row in rows(section(ARCHIVE, "Ids in file names")) if row[0] != "id"]

    assert len(examples) == 7
    assert examples == [(name, encode(name)) for name, _ in examples]


# --- what is to be run --------------------------------------------------------------------------------


@given(st.text(max_size=20))
def test_names_can_be_decoded(name: str):
    """By the few lines on the page."""
    namespace: dict[str, object] = {}
    exec(blocks(section(ARCHIVE, "Ids in file names"), "python")[0], namespace)
    decode = namespace["decode"]

    assert callable(decode)
    if "=x" not in encode(name):
        assert decode(encode(name)) == name


@pytest.fixture
async def archive(sim: Simulator, shelf: str, settings: Settings) -> Path:
    """An archive with a history of two runs."""
    await back_up(settings)
    repainted, deleted, reworded = sim.workspaces[shelf].ids[:3]
    sim.workspaces[shelf].repaint(repainted)
    sim.workspaces[shelf].delete(deleted)
    sim.workspaces[shelf].change(reworded, prompt="another")
    await back_up(settings)
    return settings.archive.path


def run(command: list[str], folder: Path) -> str:
    """Run something in the archive's folder; returns what it prints, complaints included."""
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
    )
    return done.stdout


@pytest.mark.skipif(not (shutil.which("jq") or os.environ.get("SYNCER_CI")), reason="the page's commands need jq")
async def test_an_auditor_can_check_an_archive(archive: Path):
    """Each command of the page does what it says: silent, or OK, on a whole archive; and it finds what is wrong."""
    one, everything, by_hand, missing = blocks(ARCHIVE, "sh")

    assert run(["bash", "-c", one], archive).endswith(": OK\n")
    assert run(["bash", "-c", everything], archive) == ""
    stated, found = run(["bash", "-c", by_hand], archive).split("\n")[:2]
    assert stated.split()[0] == found
    assert run(["bash", "-c", missing], archive) == ""

    picture = next(path for path in archive.rglob("2*/*") if path.suffix in {".png", ".jpg", ".webp"})
    picture.write_bytes(picture.read_bytes()[:-1] + b"?")
    assert picture.name in run(["bash", "-c", everything], archive)
    picture.unlink()
    assert picture.name in run(["bash", "-c", missing], archive)


async def test_an_auditor_can_check_the_journal(archive: Path):
    """The page's program agrees with ours; it shows a changed line, and a file that was removed."""
    (program,) = blocks(section(ARCHIVE, "Check its chain"), "python")
    async with Journal.open(archive, "third") as journal:
        journal.append("image.gone", workspace="w", image="i")
    first, second, _ = sorted((archive / "journal").iterdir())

    lines = len(list(read(archive)))
    assert run([sys.executable, "-c", program], archive).startswith(f"{lines} lines, the last one is ")

    whole = first.read_bytes()
    first.write_bytes(whole.replace(b'"n":1,', b'"n":1, ', 1))
    assert f"BROKEN before {first.relative_to(archive)}, line 3" in run([sys.executable, "-c", program], archive)

    first.write_bytes(whole)
    second.unlink()
    assert "BROKEN" in run([sys.executable, "-c", program], archive)


async def test_an_auditor_can_check_what_was_listed(sim: Simulator, shelf: str, settings: Settings, archive: Path):
    """The page's program agrees with what each complete pass told, after changes and deletions; and it can differ."""
    sim.workspaces[shelf].restore(next(iter(set(images(archive)) - set(sim.workspaces[shelf].ids))))
    await back_up(settings)
    (program,) = blocks(section(ARCHIVE, "Check what the service listed"), "python")

    said = run([sys.executable, "-c", program], archive).splitlines()

    assert [line.split()[2:] for line in said] == [
        [str(count), "images", "agrees"]
        for count in (len(images(archive)), len(images(archive)) - 1, len(images(archive)))
    ]
    async with Journal.open(archive, "fourth") as journal:
        journal.append("image.gone", workspace=shelf, image=images(archive)[0])
        journal.append("workspace.read", workspace=shelf, images=1, ids_sha256="0" * 64, complete=True)
    assert run([sys.executable, "-c", program], archive).splitlines()[-1].endswith("1 images  DIFFERS")


def images(archive: Path) -> list[str]:
    """The ids of all images that are held."""
    return [row["image_id"] for row in rows_of(archive, "images")]


async def test_every_query_answers(archive: Path):
    """As it stands on the page."""
    db = Database(archive / "manifest.db")
    try:
        queries = blocks(MANIFEST, "sql")
        answers = [list(db.query(query)) for query in queries]
    finally:
        db.close()

    assert len(queries) == 10
    empty = [query for query, answer in zip(queries, answers, strict=True) if not answer]
    may_be_empty = ("failures", "not coalesce", "copies", "uploads")
    assert all(any(word in query for word in may_be_empty) for query in empty), empty
