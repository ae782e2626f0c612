"""`syncer demo`: the main job with no account and no questions, as a newcomer runs it."""

from __future__ import annotations

import shlex
from pathlib import Path

from support import pictures, rows, syncer


def test_it_works_at_once_and_again(tmp_path: Path):
    """Two backups of a service that changes between them; a second demo in the same folder is kept apart.

    What it tells to try next can be tried.
    """
    first = syncer("demo", "--images", "12", "--keep", "kept", cwd=tmp_path)

    assert first.returncode == 0, first.stderr
    assert first.stdout == ""
    archive = tmp_path / "kept" / "archive"
    assert {row["state"] for row in rows(archive, "images")} == {"live", "gone"}
    assert len(rows(archive, "revisions")) > len(rows(archive, "images")) > 12
    assert all(row["complete"] for row in rows(archive, "runs"))
    files = pictures(archive)

    again = syncer("demo", "--images", "2", "--keep", "kept", cwd=tmp_path)

    assert again.returncode == 0, again.stderr
    assert pictures(archive) == files
    (beside,) = (tmp_path / "kept").glob("demo-*")
    assert rows(beside / "archive", "images")

    tries = [line for line in first.stderr.splitlines() if " --config " in line]
    assert len(tries) == 3
    for line in tries:
        words = shlex.split(line)
        tried = syncer(*words[words.index("--config") :], cwd=tmp_path)
        assert tried.returncode == 0, tried.stderr
        assert tried.stdout


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path):
    """As a mistake in usage."""
    (tmp_path / "kept").write_text("a file")

    ran = syncer("demo", "--keep", "kept", cwd=tmp_path)

    assert ran.returncode == 2
    assert "cannot use" in ran.stderr
