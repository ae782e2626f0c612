"""`mapped`: a large file is looked at as a whole without being held in memory."""

import mmap
from pathlib import Path

import pytest

from syncer.archive.mapped import Mapped, pieces

SIZE = (24 << 20) + 5


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(bytes(range(251)) * (SIZE // 251) + b"e" * (SIZE % 251))
    return path


def held(path: Path) -> int:
    """Count the bytes of a mapped file that are in this process's memory."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.endswith(str(path)))
    resident = next(line for line in lines[at:] if line.startswith("Rss:"))
    return int(resident.split()[1]) * 1024


def test_all_bytes_come_in_pieces_and_little_stays(file):
    """The pieces are the whole, and what was read of the file is let go."""
    with file.open("rb") as opened, Mapped(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        most, read = 0, b""
        for piece in pieces(mapped):
            read += piece
            most = max(most, held(file))
        assert read == file.read_bytes()
        assert most < 9 << 20
        assert held(file) == 0


def test_a_walk_through_a_file_holds_little_of_it(file):
    """Looks here and there, on and on, do not add up; looks at the end and back at the beginning are answered."""
    data = file.read_bytes()
    with file.open("rb") as opened, Mapped(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[-2:] == data[-2:]
        most = 0
        for at in range(0, SIZE, 4096):
            assert mapped[at : at + 4] == data[at : at + 4]
            most = max(most, held(file)) if at % (1 << 20) == 0 else most
        assert most < 9 << 20
        assert mapped[7] == data[7]


def test_a_body_in_memory_is_one_piece():
    """What was collected in memory is looked at in one go."""
    assert [bytes(piece) for piece in pieces(bytearray(b"abc"))] == [b"abc"]
