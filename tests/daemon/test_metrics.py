"""The metrics: what Prometheus would read of a snapshot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as plain_families
from snapshot_parts import BRAND, DAY, HOUR, NOW, degraded, last_run, snapshot, workspace

from syncer.daemon.metrics import exposition
from syncer.daemon.snapshot import Cause, Snapshot, State, WorkspaceState

OPEN = "application/openmetrics-text; version=1.0.0"


def samples(told: Snapshot) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample that a scraper would read."""
    text, _ = exposition(told)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in plain_families(text.decode())
        for sample in family.samples
    }


def value(told: Snapshot, metric: str, /, **labels: str) -> float | None:
    return samples(told).get((f"syncer_{metric}", frozenset(labels.items())))


def test_a_daemon_tells_how_it_is():
    """One of its states is 1, and of the causes those that last."""
    assert value(snapshot(), "healthy") == value(snapshot(), "ready") == value(snapshot(), "running") == 1
    assert value(snapshot(), "run_start_timestamp_seconds", work="quick") == NOW - 5

    ill = degraded(Cause.CREDENTIALS, Cause.DAMAGE, paused=True, queue=3)
    told = samples(ill)
    causes = {dict(labels)["cause"]: on for (name, labels), on in told.items() if name == "syncer_degraded"}
    assert causes == {cause.value: float(cause in ill.causes) for cause in Cause}
    states = {dict(labels)["state"]: on for (name, labels), on in told.items() if name == "syncer_state"}
    assert states == {state.value: float(state is State.DEGRADED) for state in State}
    assert value(ill, "healthy") == value(ill, "running") == 0
    assert (value(ill, "paused"), value(ill, "queue_length")) == (1, 3)
    assert value(ill, "run_start_timestamp_seconds", work="quick") is None


def test_a_workspace_tells_what_is_held_and_when_it_went_well():
    """Labelled by its id; its name stands once."""
    told = snapshot(workspaces=(workspace(owed=4, stale=True),))

    assert value(told, "workspace_info", workspace=BRAND, name="Brand") == 1
    assert value(told, "workspace_last_success_timestamp_seconds", workspace=BRAND) == NOW - HOUR
    assert value(told, "workspace_last_full_timestamp_seconds", workspace=BRAND) == NOW - HOUR
    assert value(told, "workspace_images", workspace=BRAND, state="live") == 98
    assert value(told, "workspace_images", workspace=BRAND, state="gone") == 2
    assert value(told, "workspace_uploads", workspace=BRAND, state="undecided") == 1
    assert value(told, "workspace_bytes", workspace=BRAND) == 1_000_000
    assert value(told, "workspace_owed_images", workspace=BRAND) == 4
    assert value(told, "workspace_stale", workspace=BRAND) == 1
    assert value(told, "workspace_stale_after_seconds", workspace=BRAND) == 2 * HOUR
    assert value(told, "workspace_next_run_timestamp_seconds", workspace=BRAND, mode="quick") == NOW + 900


def test_the_last_run_of_each_mode_is_told_apart():
    """With its length, its size, and what came of the images."""
    runs = {"full": last_run(complete=False, seconds=99.5), "quick": last_run()}
    told = snapshot(workspaces=(workspace(last_run=runs),))

    full = {"workspace": BRAND, "mode": "full"}
    assert value(told, "workspace_last_run_complete", **full) == 0
    assert value(told, "workspace_last_run_complete", workspace=BRAND, mode="quick") == 1
    assert value(told, "workspace_last_run_duration_seconds", **full) == 99.5
    assert value(told, "workspace_last_run_timestamp_seconds", **full) == NOW - HOUR
    assert value(told, "workspace_last_run_bytes", **full) == 4096
    assert value(told, "workspace_last_run_requests", **full) == 17
    assert value(told, "workspace_last_run_images", **full, outcome="unchanged") == 96


def test_the_archive_and_the_service_are_told():
    """Requests are a counter by status."""
    told = snapshot(lost=2)

    assert value(told, "requests_total", status="200") == 1234
    assert value(told, "requests_total", status="429") == 5
    assert value(told, "token_age_seconds") == 120.5
    assert value(told, "archive_bytes") == 1_000_000
    assert value(told, "archive_free_bytes") == 5_000_000_000
    assert value(told, "archive_lost_files") == 2
    assert value(told, "verification_timestamp_seconds", scope="last") == NOW - DAY
    assert value(told, "verification_timestamp_seconds", scope="whole") == NOW - 30 * DAY
    assert value(told, "verification_damage", scope="last") == 0
    assert value(told, "verification_next_timestamp_seconds") == NOW + DAY


def test_what_is_not_known_has_no_sample():
    """A zero would be the year 1970, or an empty disk."""
    nothing = snapshot(
        workspaces=(WorkspaceState("new"),),
        running=None,
        archive_free_bytes=None,
        requests={},
        token_age=None,
        verified=None,
        verified_whole=None,
        next_verification=None,
    )
    names = {name for name, _ in samples(nothing)}
    absent = {name for name, _ in samples(snapshot())} - names

    assert absent == {
        "syncer_archive_free_bytes",
        "syncer_requests_total",
        "syncer_run_start_timestamp_seconds",
        "syncer_workspace_uploads",
        "syncer_token_age_seconds",
        "syncer_verification_damage",
        "syncer_verification_next_timestamp_seconds",
        "syncer_verification_timestamp_seconds",
        "syncer_workspace_last_full_timestamp_seconds",
        "syncer_workspace_last_run_bytes",
        "syncer_workspace_last_run_complete",
        "syncer_workspace_last_run_duration_seconds",
        "syncer_workspace_last_run_images",
        "syncer_workspace_last_run_requests",
        "syncer_workspace_last_run_timestamp_seconds",
        "syncer_workspace_last_success_timestamp_seconds",
        "syncer_workspace_next_run_timestamp_seconds",
        "syncer_workspace_stale_after_seconds",
    }
    assert value(nothing, "workspace_info", workspace="new", name="new") == 1


@pytest.mark.parametrize("accept", ["", OPEN])
def test_any_name_of_a_workspace_can_be_read_back(accept: str):
    """Quotes, backslashes, line feeds, and what looks like a metric."""
    name = 'a "b" \\n c\n# TYPE x gauge\nx{y="z"} 1\n – 日本'
    text, _ = exposition(snapshot(workspaces=(workspace(name=name),)), accept)
    read = open_families if accept else plain_families

    names = [
        sample.labels["name"]
        for family in read(text.decode())
        for sample in family.samples
        if sample.name == "syncer_workspace_info"
    ]

    assert names == [name]


def test_both_forms_say_the_same():
    """OpenMetrics is read by a stricter parser."""
    plain, _ = exposition(snapshot())
    strict, _ = exposition(snapshot(), OPEN)

    def ours(families):
        return {
            (sample.name, frozenset(sample.labels.items()), sample.value)
            for family in families
            for sample in family.samples
            if sample.name.startswith("syncer_")
        }

    assert ours(open_families(strict.decode())) == ours(plain_families(plain.decode()))


@pytest.mark.parametrize("accept", ["text/plain; version=x", f"{OPEN}.b", "text/plain;version=", ";;,=", "\x00", "*/*"])
def test_any_wish_is_answered(accept: str):
    """An Accept header that makes no sense gets the plain form."""
    text, media_type = exposition(snapshot(), accept)
    assert b"syncer_healthy 1.0\n" in text
    assert "version=" in media_type


def test_one_workspace_more_is_some_samples_more():
    """No image, run or file has one of its own."""
    few = snapshot(workspaces=tuple(workspace(workspace_id=f"w{n}") for n in range(2)))
    many = snapshot(workspaces=tuple(workspace(workspace_id=f"w{n}") for n in range(12)))
    assert len(samples(many)) - len(samples(few)) == 10 * 37


def test_the_process_is_told_of():
    """Memory, processor time and open files, as other exporters name them."""
    names = {name for name, _ in samples(snapshot())}
    assert names >= {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"}


def test_help_does_not_pay_for_metrics():
    """The library is loaded by the daemon alone."""
    program = "import sys, syncer.cli.main; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


def test_promtool_finds_nothing_to_complain_about():
    """Names, units and help texts are as the conventions of Prometheus want them."""
    promtool = shutil.which("promtool")
    if promtool is None:
        (pytest.fail if os.environ.get("SYNCER_CI") else pytest.skip)("promtool is not installed")
    for told in (snapshot(), replace(snapshot(), workspaces=())):
        text, _ = exposition(told)
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")
