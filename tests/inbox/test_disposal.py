"""`disposal`: files leave the folder, and none is lost on the way."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from inbox_parts import drop, tree, writing

from syncer.inbox import disposal as module
from syncer.inbox.disposal import Disposal

DAY = "2026-11-22"
DONE = f".syncer/done/{DAY}"


def dropped(folder: Path, name: str, content: bytes = b"picture") -> Path:
    """Write a file into the folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_that_is_done_lies_under_its_day(tmp_path: Path):
    """In the sub-folders that it lay in; those stay."""
    path = dropped(tmp_path, "spring/campaign/a.png")
    assert Disposal(tmp_path).done(drop(path), DAY) == tmp_path / DONE / "spring/campaign/a.png"
    assert tree(tmp_path) == {f"{DONE}/spring/campaign/a.png"}
    assert path.parent.is_dir()


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path):
    """Nothing is overwritten, however often the same name comes."""
    for content in (b"1", b"2", b"3"):
        Disposal(tmp_path).done(drop(dropped(tmp_path, "a.png", content)), DAY)
    assert {path.name: path.read_bytes() for path in (tmp_path / DONE).iterdir()} == {
        "a.png": b"1",
        "a (2).png": b"2",
        "a (3).png": b"3",
    }


def test_a_refused_file_lies_beside_a_note(tmp_path: Path):
    """Both are kept when the same name is refused again."""
    for number in (1, 2):
        path = dropped(tmp_path, "spring/a.png")
        Disposal(tmp_path).failed(drop(path), {"format": 1, "reason": f"reason {number}"})
    below = ".syncer/failed/spring"
    names = {f"{below}/a.png", f"{below}/a.png.json", f"{below}/a (2).png", f"{below}/a (2).png.json"}
    assert tree(tmp_path) == names
    assert json.loads((tmp_path / below / "a.png.json").read_text()) == {"format": 1, "reason": "reason 1"}
    assert json.loads((tmp_path / below / "a (2).png.json").read_text()) == {"format": 1, "reason": "reason 2"}


def test_a_file_called_like_a_note_takes_no_notes_place(tmp_path: Path):
    """A pair takes its name together or not at all."""
    disposal = Disposal(tmp_path)
    disposal.failed(drop(dropped(tmp_path, "a.png.json", b"{}")), {"reason": "not a picture"})
    disposal.failed(drop(dropped(tmp_path, "a.png")), {"reason": "cut off"})
    failed = tmp_path / ".syncer/failed"
    assert tree(failed) == {"a.png.json", "a.png.json.json", "a (2).png", "a (2).png.json"}
    assert (failed / "a.png.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    "name", [b"a" * 251 + b".png", b"new\nline.png", b"\xff\xfe.png", b"\xc3\xa4" * 125 + b".jpeg"]
)
def test_any_name_can_be_moved(tmp_path: Path, name: bytes):
    """As long as names can be, of several lines, of bytes that are no text."""
    disposal = Disposal(tmp_path)
    done = disposal.done(drop(dropped(tmp_path, os.fsdecode(name))), DAY)
    assert done is not None
    assert os.fsencode(done.name) == name
    for _ in range(2):
        failed = disposal.failed(drop(dropped(tmp_path, os.fsdecode(name))), {"file": os.fsdecode(name)})
        assert failed is not None
        note = failed.with_name(failed.name + ".json")
        assert json.loads(note.read_text())["file"] == os.fsdecode(name)
    assert len(tree(tmp_path / ".syncer/failed")) == 4


def test_a_file_that_is_deleted_is_gone(tmp_path: Path):
    """And leaves nothing in our folder."""
    assert Disposal(tmp_path).delete(drop(dropped(tmp_path, "a.png")))
    assert tree(tmp_path) == set()


WAYS: list[Callable[[Disposal, object], object]] = [
    lambda disposal, file: disposal.done(file, DAY),
    lambda disposal, file: disposal.failed(file, {"reason": "no"}),
    lambda disposal, file: disposal.delete(file),
]


@pytest.mark.parametrize("way", WAYS, ids=["done", "failed", "delete"])
class TestAnotherFile:
    """What is not the file any more that was dealt with."""

    def test_a_file_that_changed_stays(self, tmp_path: Path, way):
        """It has not been uploaded as it is now."""
        path = dropped(tmp_path, "a.png")
        before = drop(path)
        path.write_bytes(b"longer than before")
        assert not way(Disposal(tmp_path), before)
        assert tree(tmp_path) == {"a.png"}

    def test_a_file_that_is_being_written_to_stays(self, tmp_path: Path, way):
        """Whoever has it open has not written yet, but will."""
        path = dropped(tmp_path, "a.png")
        before = drop(path)
        with writing(path):
            assert not way(Disposal(tmp_path), before)
        assert tree(tmp_path) == {"a.png"}

    def test_a_file_that_is_gone_is_no_error(self, tmp_path: Path, way):
        """Somebody took it back."""
        path = dropped(tmp_path, "a.png")
        before = drop(path)
        path.unlink()
        assert not way(Disposal(tmp_path), before)
        assert tree(tmp_path) == set()

    def test_a_file_that_changes_at_the_last_moment_goes_back(
        self, tmp_path: Path, way, monkeypatch: pytest.MonkeyPatch
    ):
        """Between the look and the rename; under a free name, should its own be taken by then."""
        path = dropped(tmp_path, "a.png")
        before = drop(path)
        rename = module._rename

        def replaced_then_renamed(source: Path, target: Path) -> None:
            monkeypatch.setattr(module, "_rename", rename)
            source.write_bytes(b"at the last moment")
            rename(source, target)
            source.write_bytes(b"and another")

        monkeypatch.setattr(module, "_rename", replaced_then_renamed)
        assert not way(Disposal(tmp_path), before)
        assert tree(tmp_path) == {"a.png", "a (2).png"}
        assert (tmp_path / "a (2).png").read_bytes() == b"at the last moment"

    def test_a_file_on_another_file_system_is_moved_whole(self, tmp_path: Path, way, mounted):
        """A disk that is mounted below the watch folder."""
        path = dropped(mounted(tmp_path / "disk"), "a.png")
        assert way(Disposal(tmp_path), drop(path))
        assert tree(tmp_path / "disk") == set()
        kept = {name for name in tree(tmp_path) if name.endswith("a.png")}
        assert all((tmp_path / name).read_bytes() == b"picture" for name in kept)
        assert len(kept) == (way is not WAYS[2])

    def test_a_file_on_another_file_system_that_cannot_be_copied_stays(
        self, tmp_path: Path, way, mounted, monkeypatch: pytest.MonkeyPatch
    ):
        """The copy is removed, the file is back under its name."""
        path = dropped(mounted(tmp_path / "disk"), "a.png")
        fsync = os.fsync

        def full(fd: int) -> None:
            if Path(f"/proc/self/fd/{fd}").readlink().name.startswith(".copy-"):
                raise OSError(28, "No space left on device")
            fsync(fd)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            way(Disposal(tmp_path), drop(path))
        assert tree(tmp_path) == {"disk/a.png"}

    def test_nothing_leaves_the_folder_by_a_symlink(self, tmp_path: Path, way):
        """Where our folder was put aside for one, nothing is moved."""
        (tmp_path / "elsewhere").mkdir()
        watched = tmp_path / "watched"
        path = dropped(watched, "a.png")
        (watched / ".syncer").symlink_to("../elsewhere")
        with pytest.raises(NotADirectoryError):
            way(Disposal(watched), drop(path))
        assert path.read_bytes() == b"picture"

    def test_without_exclusive_renames_a_look_has_to_do(self, tmp_path: Path, way, monkeypatch: pytest.MonkeyPatch):
        """Some file systems cannot rename over nothing only; still nothing is overwritten."""

        class Old:
            @staticmethod
            def renameat2(*_arguments: object) -> int:
                module.ctypes.set_errno(22)
                return -1

        monkeypatch.setattr(module, "_libc", Old)
        for _ in range(2):
            assert way(Disposal(tmp_path), drop(dropped(tmp_path, "a.png")))
        kept = {name for name in tree(tmp_path) if name.endswith(".png")}
        assert len(kept) == (0 if way is WAYS[2] else 2)


@pytest.mark.parametrize("mode", [0o755, 0o775, 0o2770])
def test_whoever_drops_may_look_at_what_became_of_it(tmp_path: Path, mode: int):
    """Our folders are as open as the watch folder, whatever this process's mask is."""
    watched = tmp_path / "watched"
    watched.mkdir()
    watched.chmod(mode)
    path = dropped(watched, "a.png")
    before = os.umask(0o077)
    try:
        moved = Disposal(watched).done(drop(path), DAY)
    finally:
        os.umask(before)
    assert moved is not None
    assert [parent.stat().st_mode & 0o7777 for parent in list(moved.parents)[:3]] == [mode] * 3


def test_a_bit_that_may_not_be_set_is_handed_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A hardened service may set no such bit itself; its mask decides about the rest, and files leave all the same."""
    watched = tmp_path / "watched"
    watched.mkdir()
    watched.chmod(0o2770)
    path = dropped(watched, "a.png")
    chmod = Path.chmod

    def restricted(place: Path, mode: int) -> None:
        if mode & 0o6000:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(place))
        chmod(place, mode)

    monkeypatch.setattr(Path, "chmod", restricted)
    before = os.umask(0o007)
    try:
        moved = Disposal(watched).done(drop(path), DAY)
    finally:
        os.umask(before)
    assert moved is not None
    assert [parent.stat().st_mode & 0o7777 for parent in list(moved.parents)[:3]] == [0o2770] * 3


def test_the_note_is_durable_before_the_file_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Else a file could lie there, after a power cut, and nobody could say why."""
    path = dropped(tmp_path, "a.png")
    before = drop(path)
    order: list[str] = []
    fsync, rename = os.fsync, module._rename

    def noted(fd: int) -> None:
        order.append("synced " + Path(f"/proc/self/fd/{fd}").readlink().name)
        fsync(fd)

    def renamed(source: Path, target: Path) -> None:
        order.append("renamed " + source.name)
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(module, "_rename", renamed)
    Disposal(tmp_path).failed(before, {"reason": "no"})
    assert order[-5:] == [
        "synced a.png.json",
        "synced failed",
        "renamed a.png",
        "synced failed",
        f"synced {tmp_path.name}",
    ]
