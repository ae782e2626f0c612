"""`receive`: a body is taken within bounds and blamed only for what it does itself."""

import asyncio
import threading

import aiofiles.threadpool
import pytest
from archive_parts import content

from syncer.archive import receive as receiving
from syncer.archive.disk import Disk
from syncer.archive.receive import Bounds, receive, weight
from syncer.errors import ArchiveUnwritable, Damaged, Refused, StorageFull, Unavailable
from syncer.model import Content


@pytest.fixture
def bounds(tmp_path):
    disk = Disk(tmp_path)
    yield Bounds(disk, image_bytes=8 << 20, reserve=0)
    disk.close()


async def take(given, part, bounds):
    """Receive into memory of our own; returns what is in it, None for what is in the file."""
    with memoryview(bytearray(weight(given))) as memory:
        length = await receive(given, part, bounds, memory)
        return None if length is None else bytes(memory[:length])


@pytest.mark.parametrize("chunk", [1000, 300_000, 5 << 20])
@pytest.mark.parametrize("size", [1, 65536, 256 << 10, (256 << 10) + 1, 4 << 20, (4 << 20) + 1])
@pytest.mark.parametrize("known", [True, False])
async def test_every_byte_arrives(tmp_path, bounds, size, known, chunk):
    """Small or large, in whatever pieces, told or untold: what is kept is what came."""
    data = bytes(range(256)) * (size // 256) + b"e" * (size % 256)
    part = tmp_path / "1.part"
    body = await take(content(data, length=size if known else None, chunk=chunk), part, bounds)
    assert (part.read_bytes() if body is None else body) == data
    assert (body is None) == (size > (4 << 20 if known else 256 << 10))


async def test_an_endless_body_ends_at_the_limit(tmp_path, bounds):
    """A body without a length is refused at the first byte above the limit."""
    with pytest.raises(Refused) as refused:
        await take(content(bytes(9 << 20), length=None), tmp_path / "1.part", bounds)
    assert refused.value.facts["limit"] == 8 << 20


async def test_a_body_longer_than_promised_is_stopped(tmp_path, bounds):
    """Reading ends with the first byte too many."""

    async def endless():
        while True:
            yield b"x" * 1000

    with pytest.raises(Damaged, match="goes on"):
        await take(Content(endless(), length=1500), tmp_path / "1.part", bounds)


async def test_the_disk_may_fill_while_a_body_comes(tmp_path, bounds, monkeypatch):
    """The reserve is looked at again with every large piece."""
    left = iter([1 << 20, 1 << 20, 1000])
    monkeypatch.setattr(bounds.disk.__class__, "free", lambda self: next(left))
    with pytest.raises(StorageFull) as full:
        await take(content(bytes(2 << 20), length=None), tmp_path / "1.part", bounds)
    assert full.value.facts["free"] == 1000


async def test_who_is_cancelled_leaves_when_nothing_reads_its_memory_any_more(tmp_path, bounds, monkeypatch):
    """The memory is somebody else's at once, so a piece that a thread still writes is waited for."""
    begun, go, log = threading.Event(), threading.Event(), []
    write = receiving.AsyncBufferedIOBase.write

    async def slow(self, piece):
        def held():
            begun.set()
            go.wait(5)
            log.append("written")

        await asyncio.to_thread(held)
        return await write(self, piece)

    monkeypatch.setattr(receiving.AsyncBufferedIOBase, "write", slow)
    task = asyncio.create_task(take(content(bytes(1 << 20), length=None), tmp_path / "1.part", bounds))
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["written"]


async def test_who_is_cancelled_leaves_when_the_file_is_there(tmp_path, bounds, monkeypatch):
    """Whoever clears up behind it would find nothing yet, and the file would stay."""
    begun, go, opened = threading.Event(), threading.Event(), []

    def slow(*args, **options):
        begun.set()
        go.wait(5)
        opened.append(open(*args, **options))  # noqa: PTH123, SIM115  as the library opens; receive closes
        return opened[0]

    monkeypatch.setattr(aiofiles.threadpool, "sync_open", slow)
    task = asyncio.create_task(take(content(bytes(1 << 20), length=None), tmp_path / "1.part", bounds))
    await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "1.part").exists()
    assert opened[0].closed


async def test_the_networks_errors_are_not_the_disks(tmp_path, bounds):
    """What the body raises passes as it is, even an `OSError` that was forgotten to be translated."""

    async def broken(error):
        yield bytes(1 << 20)
        raise error

    for error in (Unavailable("the connection was lost"), ConnectionResetError("reset")):
        (tmp_path / "1.part").unlink(missing_ok=True)
        with pytest.raises(type(error)):
            await take(Content(broken(error)), tmp_path / "1.part", bounds)


async def test_the_disks_errors_are_the_disks(tmp_path, bounds):
    """A staging folder that is gone is the archive's trouble, named by its relative path."""
    with pytest.raises(ArchiveUnwritable) as unwritable:
        await take(content(bytes(1 << 20), length=None), tmp_path / "gone" / "1.part", bounds)
    assert unwritable.value.facts["path"] == "gone/1.part"


def test_what_a_body_weighs():
    """A small body of known length weighs itself, any other a fixed window."""
    assert weight(content(b"x" * 10)) == 10
    assert weight(content(b"x", length=None)) == weight(content(b"x", length=1 << 30)) == 256 << 10
