"""One line says how the daemon stands: what it does or what is wrong, what comes next, and never two things at odds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.daemon import words
from syncer.daemon.queue import Batch
from syncer.daemon.schedule import Job, Work
from syncer.daemon.snapshot import Cause
from syncer.daemon.troubles import Trouble
from syncer.model import Report
from syncer.operations.verification import Progress

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NEXT = {Job(Work.FULL, "a"): NOON.replace(hour=15), Job(Work.QUICK, "a"): NOON.replace(hour=13)}
OUTAGE = Trouble((Work.FULL, "a"), Cause.SERVICE, "no connection can be made (http://service)", "", NOON)
RUN = Batch(Work.FULL, frozenset({Job(Work.FULL, "a")}), 0.0)
COUNTED = Report(name="brand", listed=20_314, new=1_200, changed=34, failed=1)


def standing(**facts: Any) -> str:
    """The line of an idle daemon that has just begun, with these facts."""
    common: dict[str, Any] = {
        "paused": False,
        "running": None,
        "progress": None,
        "trouble": None,
        "again": None,
        "last_good": None,
        "following": NEXT,
        "refused": "",
        "only_uploads": False,
    }
    return words.standing(**common | facts)


def test_idle():
    """When the last good run was, and what comes next: the first of all that is due."""
    assert standing() == "Idle; no good run yet; next quick pass 2026-11-22 13:00:00 UTC"
    assert standing(last_good=NOON).startswith("Idle; last good run 2026-11-22 12:00:00 UTC; next ")
    assert standing(following={}).endswith("nothing is scheduled")


def test_a_daemon_that_only_uploads_misses_no_runs():
    """It makes none, so it says what it waits for instead of when the next one is."""
    idle = standing(only_uploads=True, following={})
    assert idle == "Idle; waits for files in the watch folders"
    paused = standing(only_uploads=True, following={}, paused=True)
    assert paused == "Paused; `syncer resume` goes on"
    assert standing(only_uploads=True, following={}, running=RUN) == "Full pass begins"


def test_a_run_shows_how_far_it_is():
    """Passes by their images, verifications by their stage."""
    assert standing(running=RUN) == "Full pass begins"
    expected = "Full pass over brand: 20,314 listed, 1,234 copied, 1 failed"
    assert standing(running=RUN, progress=COUNTED) == expected
    verification = Batch(Work.VERIFY, frozenset({Job(Work.VERIFY)}), 0.0)
    progress = Progress("hashing", 1_500, None, 7)
    assert standing(running=verification, progress=progress) == "Verification: hashing 1,500"


def test_trouble_comes_first_with_when_it_is_tried_again():
    """Since when, why, and what happens about it."""
    line = standing(trouble=OUTAGE, again=NOON.replace(minute=5), last_good=NOON)
    assert line.startswith(
        "Degraded since 2026-11-22 12:00:00 UTC: no connection can be made (http://service); "
        "trying again at 2026-11-22 12:05:00 UTC; last good run "
    )
    assert standing(trouble=OUTAGE, running=RUN).endswith("; Full pass begins")


def test_paused_it_promises_nothing():
    """Neither a next time nor another try; and says how it goes on."""
    line = standing(paused=True, trouble=OUTAGE, again=NOON)
    assert "trying again" not in line
    assert "next" not in line
    assert line.endswith("paused: `syncer resume` goes on")
    assert standing(paused=True).startswith("Paused; ")


def test_a_refused_configuration_is_said_before_all_else():
    """Somebody has just tried to change it."""
    line = standing(refused="limits.downloads: want a whole number", trouble=OUTAGE)
    assert line.startswith("The changed configuration was refused: limits.downloads: want a whole number; Degraded ")


@settings(deadline=None)  # a slow machine is no mistake
@given(
    paused=st.booleans(),
    running=st.sampled_from([None, RUN]),
    progress=st.sampled_from([None, COUNTED]),
    trouble=st.sampled_from([None, OUTAGE]),
    again=st.sampled_from([None, NOON]),
    last_good=st.sampled_from([None, NOON]),
    following=st.sampled_from([{}, NEXT]),
    refused=st.sampled_from(["", "no"]),
)
def test_trouble_is_never_left_out_and_idle_never_said_of_it(**facts: Any):
    """Whatever else there is to say."""
    line = standing(**facts)
    assert ("Degraded" in line) == (facts["trouble"] is not None)
    assert ("refused" in line) == bool(facts["refused"])
    assert ("Full pass" in line) == (facts["running"] is not None)
    assert "Idle" not in line or not (facts["paused"] or facts["trouble"] or facts["running"])
    assert "\n" not in line
