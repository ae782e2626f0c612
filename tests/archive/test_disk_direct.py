"""`disk.write`: large files go past the system's cache where they can, and are whole either way."""

import errno
import fcntl
import mmap
import os

import pytest

from syncer.archive import disk as module
from syncer.archive.disk import Disk

SIZES = [1, 128 << 10, (128 << 10) + 1, (256 << 10) - 1, (1 << 20) + 4095]


@pytest.fixture
def disk(tmp_path):
    made = Disk(tmp_path)
    made._direct = True
    yield made
    made.close()


def pages(size):
    """Make bytes that begin with a page."""
    memory = mmap.mmap(-1, size)
    memory[:] = os.urandom(size)
    return memoryview(memory)


@pytest.fixture
def modes(monkeypatch):
    """Watch how each piece is written: (past the cache, how long)."""
    seen = []

    class Watched(module.FileIO):
        def write(self, data):
            direct = bool(fcntl.fcntl(self, fcntl.F_GETFL) & os.O_DIRECT)
            seen.append((direct, len(data)))
            return super().write(data)

    monkeypatch.setattr(module, "FileIO", Watched)
    return seen


@pytest.mark.parametrize("size", SIZES)
def test_a_file_is_whole_whatever_its_length(tmp_path, disk, size):
    """Only whole pages can go directly; what is left over goes the usual way."""
    data = pages(size)
    disk.write(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data


def test_whole_pages_go_past_the_cache(tmp_path, disk, modes):
    """And the rest of a large file does not, nor does a small file."""
    if module._type(tmp_path) not in module._DIRECT:
        pytest.skip("this file system may not be written directly")
    disk.write(tmp_path / "large", pages((256 << 10) + 5))
    disk.write(tmp_path / "small", pages(4096))
    disk.write(tmp_path / "bytes", bytes(256 << 10))  # nobody knows where they begin
    assert modes == [(True, 256 << 10), (False, 5), (False, 4096), (False, 256 << 10)]


@pytest.mark.parametrize("taken", [0, 4096, 10_000])
def test_a_device_that_takes_only_a_part_gets_the_rest_in_the_usual_way(tmp_path, disk, monkeypatch, taken):
    """Larger blocks than pages, or a part of one: it says EINVAL, and nothing is lost or written twice."""

    class Choosy(module.FileIO):
        calls = 0

        def write(self, data):
            if not fcntl.fcntl(self, fcntl.F_GETFL) & os.O_DIRECT:
                return super().write(data)
            self.calls += 1
            if self.calls > 1 or not taken:
                raise OSError(errno.EINVAL, "Invalid argument")
            flags = fcntl.fcntl(self, fcntl.F_GETFL)
            fcntl.fcntl(self, fcntl.F_SETFL, flags & ~os.O_DIRECT)
            done = super().write(data[:taken])
            fcntl.fcntl(self, fcntl.F_SETFL, flags)
            return done

    monkeypatch.setattr(module, "FileIO", Choosy)
    data = pages((256 << 10) + 7)
    disk.write(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data


def test_a_file_system_that_knows_no_direct_writing_is_written_in_the_usual_way(tmp_path, disk, monkeypatch):
    """It says EINVAL as soon as it is asked."""
    real = fcntl.fcntl

    def without(file, command, *args):
        if command == fcntl.F_SETFL and args[0] & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(file, command, *args)

    monkeypatch.setattr(module.fcntl, "fcntl", without)
    data = pages(256 << 10)
    disk.write(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data


def test_a_full_disk_is_an_error_here_as_well(tmp_path, disk, monkeypatch):
    """Only EINVAL means "not in this way"."""

    class Full(module.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "FileIO", Full)
    with pytest.raises(OSError, match="No space left"):
        disk.write(tmp_path / "file", pages(256 << 10))
    assert not (tmp_path / "file").read_bytes()
