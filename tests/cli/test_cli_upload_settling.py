"""`syncer upload --arrived` and `--lost`: what only a person can settle, and how it is told until then."""

from __future__ import annotations

import io
import random
from hashlib import sha256
from pathlib import Path

import pytest
from cli_parts import Syncer
from PIL import Image
from sqlite_utils import Database
from support import rows

from syncer.model import UploadState
from syncer.simulator.server import Simulator


def drawn(folder: Path, name: str, seed: int = 0) -> Path:
    """A small picture of its own."""
    path, out = folder / name, io.BytesIO()
    Image.frombytes("RGB", (8, 8), random.Random(seed).randbytes(192)).save(out, "PNG")
    path.write_bytes(out.getvalue())
    return path


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def undecided(syncer: Syncer, config: Path, tmp_path: Path, sim: Simulator) -> tuple[Path, str]:
    """A file whose upload is undecided, and the image that it truly is."""
    file = drawn(tmp_path, "kite.png")
    syncer("upload", file)
    db = Database(tmp_path / "archive" / "manifest.db")
    with db.conn:
        db.conn.execute("update uploads set state = 'undecided', image_id = null, reason = 'two look like it'")
    db.close()
    return file, sim.uploads[0].image


def test_what_is_undecided_is_told_with_the_two_commands(
    syncer: Syncer, sim: Simulator, shelf: str, config: Path, undecided: tuple[Path, str]
):
    """It is not sent again by naming it again."""
    file, _ = undecided

    ran = syncer("upload", file, "--config", config)

    assert ran.code == 3
    assert f"upload --arrived IMAGE {digest(file)} --workspace {shelf} --config {config}" in ran.err
    assert f"upload --lost {digest(file)} --workspace {shelf} --config {config}" in ran.err
    assert len(sim.uploads) == 1


def test_what_is_left_of_earlier_times_is_told_by_its_workspaces_name(
    syncer: Syncer, config: Path, undecided: tuple[Path, str], tmp_path: Path
):
    """As in `syncer status`, whatever else is uploaded."""
    config.write_text(config.read_text() + '\nname = "brand"\n')

    ran = syncer("upload", drawn(tmp_path, "boat.png", 2))

    assert "1 upload is not settled" in ran.err
    assert "undecided: two look like it (brand, " in ran.err


def test_a_person_says_that_it_arrived(syncer: Syncer, sim: Simulator, config: Path, undecided: tuple[Path, str]):
    """It is proven then, and settled; naming the file again sends nothing."""
    file, image = undecided

    ran = syncer("upload", "--arrived", image, digest(file), "--json")

    assert ran.code == 0
    assert [(line["outcome"], line["image"], line["sha256"]) for line in ran.lines] == [
        ("uploaded", image, digest(file))
    ]
    assert ran.summary["complete"] is True
    assert syncer("upload", file).code == 0
    assert len(sim.uploads) == 1


def test_a_person_says_that_it_never_arrived(
    syncer: Syncer, sim: Simulator, config: Path, undecided: tuple[Path, str], tmp_path: Path
):
    """It counts as never sent, and its next upload sends it."""
    file, _ = undecided

    ran = syncer("upload", "--lost", digest(file).upper(), "--json")

    assert ran.code == 0
    assert "counts as never sent" in ran.err
    assert [line["outcome"] for line in ran.lines] == ["pending"]
    assert (ran.summary["complete"], ran.summary["why"]) == (True, [])  # of what was asked for
    assert [row["state"] for row in rows(tmp_path / "archive", "uploads")] == [UploadState.UNSENT]
    assert syncer("upload", file).code == 0
    assert len(sim.uploads) == 2


@pytest.mark.parametrize("words", [["--arrived", "no-such-image"], ["--lost"]])
def test_a_word_on_what_is_not_known(syncer: Syncer, config: Path, undecided: tuple[Path, str], words: list[str]):
    """An image that is not there, a hash that nobody uploaded: exit code 2, and all stays as it is."""
    file, _ = undecided

    ran = syncer("upload", *words, digest(file) if "--arrived" in words else "0" * 64)

    assert ran.code == 2
    assert syncer("upload", file).code == 3
