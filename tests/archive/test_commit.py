"""`commit`: wherever it is interrupted, what stands is whole, nothing is stray, and the next run completes it."""

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path

import killed_commit
import pytest
from archive_parts import DAY, FOLDER, content, image, opened, picture, tree

from syncer.archive.disk import Disk, holds
from syncer.archive.sidecar import read
from syncer.errors import ArchiveUnwritable, StorageFull

WHOLE_TREE = sorted(
    f"{DAY}/{name}"
    for name in ("a.png", "a.json", "a.r2.json", "b.png", "b.json", "b.r2.png", "b.r2.json", "c.png", "c.json")
)


@pytest.fixture
def quick(monkeypatch):
    """Leave out the syncs where no power is cut."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr(Disk, "settle_all", lambda self: None)


def assert_whole(root: Path, *, strays: bool = False) -> None:
    """Every sidecar's bytes stand; unless strays are allowed, every file has its sidecar."""
    sidecars = [read((root / path).read_bytes(), path) for path in tree(root) if path.endswith(".json")]
    assert all(holds(root / revision.path, revision.sha256) for revision in sidecars)
    named = {revision.path for revision in sidecars} | {revision.sidecar for revision in sidecars}
    assert strays or named == set(tree(root))


@pytest.mark.parametrize("sync", ["whole", "each"])
async def test_killed_at_every_step(tmp_path, quick, sync):
    """Dead before any rename, sync or in the middle of a write: reopened, it is whole, and run again, complete."""
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, killed_commit.__file__, tmp_path, sync),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    said, _ = await killed.communicate()
    assert killed.returncode == 0
    roots = sorted(tmp_path.iterdir(), key=lambda root: int(root.name))
    committed = {tuple(line.split()) for line in said.decode().splitlines()}
    assert len(roots) > 30
    assert tree(roots[-1]) == WHOLE_TREE
    for root in roots:
        async with opened(root):
            assert_whole(root)
            before = {path: (root / path).read_bytes() for path in tree(root)}
        for batch, last in (("1", "b.json"), ("2", "c.json")):
            assert (root.name, batch) not in committed or f"{DAY}/{last}" in before
        await killed_commit.keep(root)
        assert tree(root) == WHOLE_TREE
        assert {path: (root / path).read_bytes() for path in before} == before


def counted(monkeypatch, name, step, error):
    """Let the n-th call of an os function fail; the list holds all calls."""
    calls, real = [], getattr(os, name)

    def call(*args):
        calls.append(args)
        if len(calls) == step:
            raise OSError(error, os.strerror(error), *args[:1])
        return real(*args)

    monkeypatch.setattr(os, name, call)
    return calls


async def fails_at(root, monkeypatch, name, step, error, expected) -> bool:
    """Keep everything with a fault at one step; say whether the fault fired."""
    with monkeypatch.context() as patched:
        calls = counted(patched, name, step, error)
        try:
            await killed_commit.keep(root)
        except expected:
            assert len(calls) >= step
            return True
        assert len(calls) < step
        return False


async def test_after_a_failed_sync_nothing_is_believed(tmp_path, quick, monkeypatch):
    """Whichever sync fails: the batch is not committed, its staged files are gone, and the next run keeps it all."""
    step, root = 1, tmp_path / "1"
    while await fails_at(root, monkeypatch, "fsync", step, errno.EIO, ArchiveUnwritable):
        assert not [path for path in tree(root) if path.startswith(".staging/")]
        assert_whole(root, strays=True)
        await killed_commit.keep(root)
        assert tree(root) == WHOLE_TREE
        assert_whole(root)
        step, root = step + 1, tmp_path / str(step + 1)
    assert step > 15


async def test_a_full_disk_in_the_middle_is_completed_later(tmp_path, quick, monkeypatch):
    """A rename that finds the disk full stops the run; bytes already in place get their sidecar at the next start."""
    step, root = 1, tmp_path / "1"
    while await fails_at(root, monkeypatch, "rename", step, errno.ENOSPC, StorageFull):
        async with opened(root):
            assert_whole(root)
        await killed_commit.keep(root)
        assert tree(root) == WHOLE_TREE
        step, root = step + 1, tmp_path / str(step + 1)
    assert step > 8


async def test_each_step_is_durable_before_the_next(tmp_path, monkeypatch):
    """A power cut cannot show a sidecar without its bytes: the order of syncs and renames forbids it."""
    log, sync, rename = [], os.fsync, os.rename

    def logged_sync(fd):
        log.append(("sync", str(Path(f"/proc/self/fd/{fd}").readlink())))
        sync(fd)

    def logged_rename(source, target):
        log.append(("rename", str(target)))
        rename(source, target)

    async with opened(tmp_path) as archive:
        staged = await archive.stage(image(), content(picture()), folder=FOLDER, entry=None, run="r1")
        monkeypatch.setattr(os, "fsync", logged_sync)
        monkeypatch.setattr(os, "rename", logged_rename)
        await archive.commit([staged])
    bytes_named = log.index(("rename", str(tmp_path / DAY / "img.png")))
    pair_named = log.index(("rename", str(tmp_path / DAY / "img.json")))
    synced = [
        {path for kind, path in part if kind == "sync"} for part in (log[:bytes_named], log[bytes_named:pair_named])
    ]
    staging = tmp_path / ".staging"
    assert synced[0] == {str(path) for path in (staging, staging / "1.part", staging / "1.json", staging / "2.plan")}
    folders = [tmp_path / DAY, *(tmp_path / DAY).parents]
    assert synced[1] == {str(folder) for folder in folders[: folders.index(tmp_path) + 1]}
    assert log[pair_named + 1 :] == [("sync", str(tmp_path / DAY))]


async def test_a_torn_sidecar_is_not_completed(tmp_path):
    """A plan is followed only for sidecars that are whole and whose bytes stand."""
    (tmp_path / ".staging").mkdir()
    (tmp_path / ".staging" / "1.plan").write_bytes(b'{"1.json":"ws/x.json","2.json":"ws/y.json"}')
    (tmp_path / ".staging" / "1.json").write_bytes(b'{"format": 1')
    (tmp_path / ".staging" / "9.plan").write_bytes(b'{"1.js')
    (tmp_path / ".staging" / "folder").mkdir()
    async with opened(tmp_path):
        assert tree(tmp_path) == []
        assert {path.name for path in (tmp_path / ".staging").iterdir()} == {"lock", "home"}


@pytest.mark.parametrize("clean", [True, False])
async def test_only_an_unclean_end_costs_a_sync_of_all(tmp_path, monkeypatch, clean):
    """After a crash, all that can be seen is made durable before it is believed; else there is no need."""
    synced = []
    monkeypatch.setattr(Disk, "settle_all", lambda self: synced.append(self.root))
    try:
        async with opened(tmp_path):
            if not clean:
                raise RuntimeError
    except RuntimeError:
        pass
    async with opened(tmp_path):
        assert synced == ([] if clean else [tmp_path])


async def test_an_empty_batch_touches_nothing(tmp_path):
    """Where all was there already, a commit is no work."""
    async with opened(tmp_path) as archive:
        await archive.commit([])
    assert tree(tmp_path) == []
