"""The bar of `syncer upload`: how far it is, and a line for each file that is there."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from syncer.cli.delivering import Bar, drawn
from syncer.inbox.drop import drop_of
from syncer.model import Workspace
from syncer.operations.parcels import Delivered, Kind, Parcel, UploadsBegan, UploadSending


def parcels(folder: Path, count: int, size: int = 1024) -> list[Parcel]:
    """Files of one size."""
    made = []
    for number in range(count):
        path = folder / f"{number}.png"
        path.write_bytes(bytes(size))
        made.append(Parcel(Workspace("w"), path.name, drop_of(path, most=size)))
    return made


def test_the_bar_counts_files_and_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """And says at what rate they go, and how long the rest may take; before that is known, how many are under way."""
    time = [100.0]
    first, second, third, fourth = parcels(tmp_path, 4)
    progress = Progress()
    bar = Bar(progress, clock=lambda: time[0])

    bar(UploadsBegan(4, 4096))
    for one in (first, second, third, third):  # the third one's answer was lost, and it is sent again
        bar(UploadSending(one, one.size))
    (task,) = progress.tasks
    assert task.fields["note"] == "3 under way"
    time[0] += 2
    bar(Delivered(Kind.UPLOADED, first))
    bar(Delivered(Kind.REFUSED, second, reason="too large"))

    assert (task.completed, task.total) == (2, 4)
    assert task.fields["note"] == "2.0 KiB of 4.0 KiB · 1.0 KiB/s · 0:00:02 left"
    told = capsys.readouterr().err
    assert "0.png" in told
    assert "1.png" not in told  # told at the end, with what to do

    bar(Delivered(Kind.UPLOADED, third))
    bar(Delivered(Kind.ALREADY, fourth))
    assert task.completed == 4
    assert task.fields["note"] == "4.0 KiB of 4.0 KiB · 2.0 KiB/s"


def test_the_bar_fits_into_a_terminal_of_80_columns(tmp_path: Path):
    """With how many files there are, which is what a person looks for first."""
    screen, time = io.StringIO(), [100.0]
    console = Console(file=screen, width=80, force_terminal=True, color_system=None)
    with drawn(console) as progress:
        bar = Bar(progress, silent=True, clock=lambda: time[0])
        bar(UploadsBegan(300, 300 << 20))
        time[0] += 2
        for one in parcels(tmp_path, 4):
            bar(UploadSending(one, one.size))
            bar(Delivered(Kind.UPLOADED, one))
        progress.refresh()

    assert "4/300" in screen.getvalue()


def test_a_silent_bar_tells_of_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """As in a dry run, which tells of all of them when it is over."""
    bar = Bar(Progress(), silent=True)

    bar(UploadsBegan(1, 1024))
    bar(Delivered(Kind.UPLOADED, parcels(tmp_path, 1)[0]))

    assert capsys.readouterr().err == ""
