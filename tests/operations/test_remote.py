"""What is held against what the service has now."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import at_once, back_up, pictures, rows
from verifying import verified

from syncer import app
from syncer.operations.remote import Comparison, Differs, compare
from syncer.operations.verification import Part
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator


async def compared(settings: Settings, part: Part | None = None) -> tuple[Comparison, list[Differs]]:
    told: list[Differs] = []
    result = Comparison()
    async with app.opened(settings, {}, "test") as rooms:
        await compare(replace(rooms, sleep=at_once), part or Part(), told.append, result)
    return result, told


def marked(sim: Simulator, shelf: str) -> str:
    """Mark a place in an image's document, for `spelled` to write something there; returns the image."""
    image = sim.workspaces[shelf].ids[0]
    sim.workspaces[shelf].change(image, parameters={"marked": "@@"})
    return image


def spelled(text: bytes) -> faults.Action:
    """Write the text into the marked place of each answer."""
    return faults.rewrite(lambda body: body.replace(b'"@@"', text))


async def test_a_faithful_copy_is_the_same(sim: Simulator, shelf: str, settings: Settings):
    """Every image is asked for again, and nothing is written."""
    await back_up(settings)
    before = pictures(settings.archive.path)

    result, told = await compared(settings)

    assert told == []
    assert result == Comparison(compared=len(sim.workspaces[shelf]))
    assert pictures(settings.archive.path) == before
    assert all(row["revision"] == 1 for row in rows(settings.archive.path, "images"))


async def test_bytes_and_prompts_that_change_silently_are_found_and_both_versions_kept(
    sim: Simulator, shelf: str, settings: Settings
):
    """`updatedAt` stays, so no backup sees it; the comparison does."""
    await back_up(settings)
    before = pictures(settings.archive.path)
    repainted, reworded, *_ = sim.workspaces[shelf].ids
    sim.workspaces[shelf].repaint(repainted, touch=False)
    sim.workspaces[shelf].change(reworded, touch=False, prompt="other words")
    assert (await back_up(settings)).report.changed == 0

    result, told = await compared(settings)

    assert result.silent == 2
    found = {one.image_id: one for one in told}
    assert found[repainted].bytes_differ
    assert not found[reworded].bytes_differ
    assert found[reworded].document_differs
    assert before.items() < pictures(settings.archive.path).items()
    assert len(rows(settings.archive.path, "revisions", f"image_id = '{repainted}'")) == 2
    assert (await compared(settings))[0].silent == 0, "it was told twice"


async def test_a_change_that_shows_itself_is_not_called_silent(sim: Simulator, shelf: str, settings: Settings):
    """`updatedAt` moved since the last backup: a plain change."""
    await back_up(settings)
    sim.workspaces[shelf].repaint(sim.workspaces[shelf].ids[0])

    result, (differs,) = await compared(settings)

    assert (result.changed, result.silent, differs.silent) == (1, 0, False)


async def test_what_the_service_does_not_know_or_answer_is_counted_and_left_alone(
    sim: Simulator, shelf: str, settings: Settings
):
    """Deletions are decided by a full backup; no answer is no difference."""
    await back_up(settings)
    lost, silent, *_ = sim.workspaces[shelf].ids
    sim.workspaces[shelf].delete(lost)
    sim.faults.on("content", faults.status(403), image=silent)

    result, told = await compared(settings)

    assert (result.not_found, result.unanswered, told) == (1, 1, [])
    assert rows(settings.archive.path, "images", "state = 'gone'") == []


async def test_the_parts_together_are_all(sim: Simulator, shelf: str, settings: Settings):
    """A third a day is everything in three days."""
    await back_up(settings)

    counts = [(await compared(settings, Part(n, 3)))[0].compared for n in (1, 2, 3)]

    assert sum(counts) == len(sim.workspaces[shelf])
    assert all(count < len(sim.workspaces[shelf]) for count in counts)


@pytest.mark.parametrize("number", [b"1e999", b"-" + b"9" * 5000], ids=["beyond a float", "5,000 digits"])
async def test_numbers_of_any_size_are_compared(sim: Simulator, shelf: str, settings: Settings, number: bytes):
    """A document that the backup keeps can be compared as well; a digit that is another one is a difference."""
    image = marked(sim, shelf)
    sim.faults.on("listing", spelled(number))
    sim.faults.on("image", spelled(number))
    assert (await back_up(settings)).result.exit_code == 0

    assert (await compared(settings))[0] == Comparison(compared=len(sim.workspaces[shelf]))

    sim.faults.clear()
    sim.faults.on("image", spelled(number.replace(b"9", b"8")))
    result, (differs,) = await compared(settings)
    assert (result.silent, differs.image_id, differs.document_differs) == (1, image, True)


@pytest.mark.parametrize(
    ("listed", "shown"),
    [
        ('{"a": [1, {"x": "\u00e9", "y": null}], "b": 2}', '{"b":2,"a":[1,{"y":null,"x":"\\u00e9"}]}'),
        ("[ " * 400 + "]" * 400, "[" * 400 + "]" * 400),
    ],
    ids=["names and letters", "deeper than we can follow"],
)
async def test_another_spelling_of_the_same_is_no_change(
    sim: Simulator, shelf: str, settings: Settings, listed: str, shown: str
):
    """White space, the order of names, and escaped letters may differ from answer to answer."""
    marked(sim, shelf)
    sim.faults.on("listing", spelled(listed.encode()))
    sim.faults.on("image", spelled(shown.encode()))
    assert (await back_up(settings)).result.exit_code == 0

    assert (await compared(settings)) == (Comparison(compared=len(sim.workspaces[shelf])), [])


async def test_an_older_manifest_catches_up_before_it_is_compared(sim: Simulator, shelf: str, settings: Settings):
    """What the journal tells and a manifest from an older copy does not is not passed over for ever."""
    await back_up(settings)
    manifest = settings.archive.path / "manifest.db"  # closed, so all of it is in this one file
    older = manifest.read_bytes()
    new = sim.workspaces[shelf].add()
    await back_up(settings)
    manifest.write_bytes(older)
    sim.workspaces[shelf].repaint(sim.workspaces[shelf].ids[0], touch=False)

    result, _ = await compared(settings)

    assert (result.compared, result.silent) == (len(sim.workspaces[shelf]), 1)
    assert len(rows(settings.archive.path, "images", f"image_id = '{new}'")) == 1
    assert (await verified(settings.archive.path)).told == []
