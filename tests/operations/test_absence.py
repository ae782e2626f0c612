"""Absence is not deletion: the brake's arithmetic, and two answers apart in time before an image counts as gone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer import app
from syncer.errors import Refused, Unauthorized
from syncer.operations.absence import APART_SECONDS, brake, confirm
from syncer.operations.rooms import Looking
from syncer.settings import SafetySettings, Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator

COUNTS = st.integers(0, 10**6)
SAFETY = st.builds(SafetySettings, st.integers(0, 10**4), st.floats(0, 100))


# --- the brake ----------------------------------------------------------------------------------------


@given(COUNTS, COUNTS, SAFETY)
def test_nothing_absent_needs_no_brake(live: int, listed: int, safety: SafetySettings):
    """Whatever else there is."""
    assert brake(0, live, listed, safety) is None


@given(st.integers(1, 10**6), COUNTS, SAFETY)
def test_an_emptied_workspace_always_needs_a_person(absent: int, more: int, safety: SafetySettings):
    """However lax the limits, and however few there were."""
    assert brake(absent, absent + more, 0, safety)


@given(st.integers(1, 10**4), COUNTS, st.integers(1, 10**6), st.floats(0, 100))
def test_few_deletions_pass_by_their_number(absent: int, more: int, listed: int, percent: float):
    """Up to the limit of items, be they all that there are."""
    assert brake(absent, absent + more, listed, SafetySettings(absent, percent)) is None


@given(st.integers(1, 10**4), st.integers(1, 99), st.integers(1, 10**6))
def test_few_deletions_pass_by_their_part(hundredth: int, percent: int, listed: int):
    """Up to the limit in percent, be they ever so many."""
    assert brake(hundredth * percent, hundredth * 100, listed, SafetySettings(0, percent)) is None


@given(st.integers(0, 10**4), st.integers(0, 99), st.integers(1, 10**6))
def test_more_than_both_needs_a_person(items: int, percent: int, listed: int):
    """One more than each limit is enough, and it says how many of how many."""
    live = 100 * (items + 1)
    absent = (items + 1) * percent + 1 + items

    why = brake(absent, live, listed, SafetySettings(items, percent))

    assert why
    assert f"{absent} of {live}" in why


@given(st.integers(1, 10**6), COUNTS, st.integers(1, 10**6), SAFETY)
def test_more_deletions_never_release_the_brake(absent: int, more: int, listed: int, safety: SafetySettings):
    """What it holds for some it holds for one more of the same workspace."""
    live = absent + 1 + more
    if brake(absent, live, listed, safety):
        assert brake(absent + 1, live, listed, safety)


def test_more_absent_than_live_is_no_bug():
    """Images that came back and vanished again are absent, and were marked gone before: they are not live."""
    assert brake(2, 0, 5, SafetySettings(25, 5)) is None
    assert brake(30, 10, 5, SafetySettings(25, 5))


# --- asking twice -------------------------------------------------------------------------------------


class Waiting:
    """Stands in for the time between the two tries: remembers how long it was, and what happens meanwhile."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None

    async def __call__(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.meanwhile()


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
async def rooms(sim: Simulator, settings: Settings, waiting: Waiting) -> AsyncIterator[Looking]:
    async with app.looking(replace(settings, limits=replace(settings.limits, retries=0)), {}) as looking:
        yield replace(looking, sleep=waiting)


async def test_missing_twice_is_missing(sim: Simulator, shelf: str, rooms: Looking, waiting: Waiting):
    """The service says so for each id, two times, some time apart."""
    first, second = sim.workspaces[shelf].ids[:2]
    for image in (first, second):
        sim.workspaces[shelf].delete(image)
    sim.faults.on("image", faults.status(410), image=second)

    answers = await confirm(rooms, shelf, [first, second])

    assert (answers.missing, answers.alive, answers.unsure) == (sorted([first, second]), [], [])
    assert waiting.waited == [APART_SECONDS]
    assert sim.counts["image"] == 4


async def test_one_answer_is_not_enough(sim: Simulator, shelf: str, rooms: Looking, waiting: Waiting):
    """An image that is there again at the second try is alive: a replica had lagged."""
    image = sim.workspaces[shelf].ids[0]
    sim.workspaces[shelf].delete(image)
    waiting.meanwhile = lambda: sim.workspaces[shelf].restore(image)

    answers = await confirm(rooms, shelf, [image])

    assert answers.missing == []
    assert [alive.id for alive in answers.alive] == [image]


async def test_one_that_is_there_is_not_asked_for_again(sim: Simulator, shelf: str, rooms: Looking, waiting: Waiting):
    """And where none is missing, nobody waits."""
    image = sim.workspaces[shelf].ids[0]

    answers = await confirm(rooms, shelf, [image])

    assert [alive.id for alive in answers.alive] == [image]
    assert waiting.waited == []
    assert sim.counts["image"] == 1


@pytest.mark.parametrize("code", [400, 403, 422, 429, 500, 503])
async def test_any_other_answer_leaves_it_live(sim: Simulator, shelf: str, rooms: Looking, waiting: Waiting, code: int):
    """At the first try or at the second: not knowing is not a deletion."""
    early, late = sim.workspaces[shelf].ids[:2]
    for image in (early, late):
        sim.workspaces[shelf].delete(image)
    sim.faults.on("image", faults.status(code, retry_after=0), image=early)
    waiting.meanwhile = lambda: sim.faults.on("image", faults.status(code, retry_after=0), image=late)

    answers = await confirm(rooms, shelf, [early, late])

    assert (answers.missing, answers.alive) == ([], [])
    assert answers.unsure == [early, late]


async def test_a_workspace_that_becomes_invisible_confirms_nothing(
    sim: Simulator, shelf: str, rooms: Looking, waiting: Waiting
):
    """A lost permission makes every image look deleted: the listing is asked between the two tries."""
    image = sim.workspaces[shelf].ids[0]
    sim.workspaces[shelf].delete(image)

    def lose_it() -> None:
        sim.workspaces[shelf].accessible = False

    waiting.meanwhile = lose_it

    with pytest.raises(Refused):
        await confirm(rooms, shelf, [image])


async def test_what_ends_the_run_is_raised(sim: Simulator, shelf: str, rooms: Looking):
    """Refused credentials are not an answer about an image."""
    image = sim.workspaces[shelf].ids[0]
    sim.faults.on("image", faults.status(401))

    with pytest.raises(Unauthorized):
        await confirm(rooms, shelf, [image])
