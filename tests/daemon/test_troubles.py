"""What is wrong is told when it begins, once, and when it is over; and tried again in growing, spread pauses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.daemon.schedule import Work
from syncer.daemon.snapshot import Cause
from syncer.daemon.troubles import LONGEST_PAUSE, Changed, Key, Troubles, pause

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
FULL, QUICK, OTHER, VERIFY = (Work.FULL, "a"), (Work.QUICK, "a"), (Work.FULL, "b"), (Work.VERIFY, "3/30")


def arise(troubles: Troubles, key: Key, cause: Cause, after: timedelta = timedelta()) -> Changed | None:
    return troubles.arise(key, cause, f"{cause} in {key[1]}", "", NOON + after)


def kinds(change: Changed | None) -> tuple[Cause | None, Cause | None] | None:
    """From what to what, in short."""
    if change is None:
        return None
    return change.before and change.before.cause, change.after and change.after.cause


def test_trouble_is_told_when_it_begins_and_when_it_ends():
    """Not at each try in between."""
    troubles = Troubles()
    assert kinds(arise(troubles, FULL, Cause.SERVICE)) == (None, Cause.SERVICE)
    assert arise(troubles, FULL, Cause.SERVICE, MINUTE) is None
    assert troubles.worst
    assert troubles.worst.since == NOON
    assert kinds(troubles.heal([FULL], NOON + 2 * MINUTE)) == (Cause.SERVICE, None)
    assert troubles.heal([FULL], NOON + 3 * MINUTE) is None
    assert troubles.worst is None


def test_the_same_wrong_with_more_work_is_told_once():
    """And is over when it is with the last of it."""
    troubles = Troubles()
    assert arise(troubles, FULL, Cause.SERVICE) is not None
    assert arise(troubles, QUICK, Cause.SERVICE) is None
    assert arise(troubles, OTHER, Cause.SERVICE) is None
    assert troubles.heal([FULL, QUICK], NOON) is None
    assert OTHER in troubles
    assert kinds(troubles.heal([OTHER], NOON)) == (Cause.SERVICE, None)


def test_another_cause_is_told():
    """The service is back, and now it is the disk."""
    troubles = Troubles()
    arise(troubles, FULL, Cause.SERVICE)
    change = arise(troubles, FULL, Cause.ARCHIVE, MINUTE)
    assert kinds(change) == (Cause.SERVICE, Cause.ARCHIVE)
    assert troubles.worst
    assert troubles.worst.since == NOON + MINUTE


def test_what_lasts_does_not_hide_what_is_new():
    """Damage may wait weeks for a person; credentials that are refused meanwhile are told, and that they are over."""
    troubles = Troubles()
    arise(troubles, VERIFY, Cause.DAMAGE)
    assert kinds(arise(troubles, FULL, Cause.CREDENTIALS, MINUTE)) == (Cause.DAMAGE, Cause.CREDENTIALS)
    assert kinds(arise(troubles, QUICK, Cause.INCOMPLETE, MINUTE)) == (Cause.CREDENTIALS, Cause.INCOMPLETE)
    assert troubles.heal([FULL], NOON) is None
    assert kinds(troubles.heal([QUICK], NOON)) == (Cause.INCOMPLETE, Cause.DAMAGE)
    assert kinds(troubles.heal([VERIFY], NOON)) == (Cause.DAMAGE, None)


def test_the_worst_is_what_needs_a_person_then_what_lasts_longest():
    """An outage passes by itself; a safety stop does not."""
    troubles = Troubles()
    arise(troubles, QUICK, Cause.SERVICE)
    arise(troubles, VERIFY, Cause.DAMAGE, 2 * MINUTE)
    arise(troubles, FULL, Cause.SAFETY_STOP, MINUTE)
    assert troubles.worst
    assert troubles.worst.cause is Cause.SAFETY_STOP
    assert troubles.causes == {Cause.SERVICE, Cause.DAMAGE, Cause.SAFETY_STOP}


def test_a_later_proof_heals_what_was_wrong_before_it():
    """All parts verified without damage, also by somebody else: what was found since then still counts."""
    troubles = Troubles()
    arise(troubles, VERIFY, Cause.DAMAGE)
    arise(troubles, (Work.VERIFY, "4/30"), Cause.DAMAGE, 2 * MINUTE)
    assert troubles.heal_older(Work.VERIFY, NOON + MINUTE, NOON) is None
    assert troubles.keys == {(Work.VERIFY, "4/30")}
    assert troubles.heal_older(Work.FULL, NOON + DAY, NOON) is None
    assert troubles.heal_older(Work.VERIFY, NOON + DAY, NOON) is not None


def test_a_reminder_comes_once_a_day_while_it_lasts():
    """And counts from when something was last said."""
    troubles = Troubles()
    assert troubles.reminder(NOON) is None
    arise(troubles, FULL, Cause.SERVICE)
    assert troubles.reminder(NOON + DAY - MINUTE) is None
    assert troubles.reminder(NOON + DAY) is not None
    assert troubles.reminder(NOON + DAY + MINUTE) is None
    assert troubles.reminder(NOON + 2 * DAY) is not None
    troubles.heal([FULL], NOON + 2 * DAY)
    assert troubles.reminder(NOON + 9 * DAY) is None


@settings(deadline=None)  # a slow machine is no mistake
@given(
    st.lists(
        st.tuples(
            st.sampled_from([FULL, QUICK, OTHER, VERIFY]),
            st.sampled_from([None, Cause.SERVICE, Cause.DAMAGE, Cause.INCOMPLETE]),
        )
    )
)
def test_whoever_follows_what_is_told_knows_how_it_stands(steps: list[tuple[Key, Cause | None]]):
    """What was told last is wrong still, or nothing is; each change begins with what was told before it."""
    troubles, told, lasting = Troubles(), None, dict[Key, Cause]()
    for key, cause in steps:
        new = cause is not None and cause not in lasting.values()
        if cause is None:
            lasting.pop(key, None)
            change = troubles.heal([key], NOON)
        else:
            lasting[key] = cause
            change = arise(troubles, key, cause)
            assert not new or (change and change.after and change.after.cause is cause)
        if change is not None:
            assert change.before == told
            told = change.after
        assert (told is None) == (not lasting)
        assert told is None or told.cause in lasting.values()
        assert troubles.causes == set(lasting.values())


@settings(deadline=None)  # a slow machine is no mistake
@given(st.integers(1, 100_000), st.floats(0, 1))
def test_pauses_grow_are_bounded_and_spread(failures: int, chance: float):
    """Two seconds at first, a quarter of an hour at last, a quarter more or less: daemons come one by one."""
    middle = pause(failures, 0.5)
    assert 2.0 <= middle <= LONGEST_PAUSE == 900
    assert pause(failures + 1, 0.5) == min(2 * middle, LONGEST_PAUSE)
    assert middle * 0.75 <= pause(failures, chance) <= middle * 1.25
    assert pause(failures, 0.0) < middle < pause(failures, 1.0)


def test_the_first_pause_is_short():
    """Most outages are blinks."""
    assert [pause(failures, 0.5) for failures in (1, 2, 3, 9, 10, 11)] == [2, 4, 8, 512, 900, 900]
