"""Say a snapshot as metrics, by the naming conventions of Prometheus. `docs/monitoring.md` has a row for each.

A workspace is labelled by its id, which never changes; `syncer_workspace_info` tells its name. What is not known yet
has no sample rather than a zero, which would read as a time in 1970. Kept on its own: no registry of this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from syncer.daemon.snapshot import Cause, Snapshot, State, WorkspaceState

Sample = tuple[tuple[str, ...], float | None]


def exposition(snapshot: Snapshot, accept: str = "") -> tuple[bytes, str]:
    """Write the metrics in the form that the `Accept` header asks for; returns them and their media type."""
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(snapshot))
    ProcessCollector(registry=registry)
    try:
        encode, media_type = choose_encoder(accept)
    except (TypeError, ValueError):  # the library takes a version that is no number ill
        encode, media_type = choose_encoder("")
    return encode(registry), media_type


class SnapshotCollector(Collector):
    """One snapshot as families of metrics."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield every family, those without a sample too."""
        yield from _of_daemon(self._snapshot)
        yield from _of_service(self._snapshot)
        yield from _of_archive(self._snapshot)
        yield from _of_workspaces(self._snapshot.workspaces)
        yield from _of_runs(self._snapshot.workspaces)


def _of_daemon(now: Snapshot) -> Iterator[Metric]:
    yield _each("syncer_build_info", "The version of syncer.", ("version",), [((now.version,), 1)])
    yield _one("syncer_start_timestamp_seconds", "When the daemon started.", now.started)
    yield _one("syncer_ready", "Whether configuration and archive have been proven usable.", now.ready)
    yield _one("syncer_healthy", "Whether backups happen as scheduled: what /healthz says.", now.healthy)
    states = [((state.value,), state is now.state) for state in State]
    yield _each("syncer_state", "Which state the daemon is in.", ("state",), states)
    causes = [((cause.value,), cause in now.causes) for cause in Cause]
    yield _each("syncer_degraded", "What keeps the daemon from its work.", ("cause",), causes)
    yield _one("syncer_paused", "Whether somebody paused the schedule.", now.paused)
    yield _one("syncer_running", "Whether a run is under way.", now.running is not None)
    began = [((now.running.work,), now.running.began)] if now.running else []
    yield _each("syncer_run_start_timestamp_seconds", "When the run under way began.", ("work",), began)
    yield _one("syncer_queue_length", "Runs that are due and wait for the one under way.", now.queue)


def _of_service(now: Snapshot) -> Iterator[Metric]:
    # A counter, because each status only goes up; a new connection begins at 0, which every reader takes for a restart.
    requests = CounterMetricFamily(
        "syncer_requests", "Answers of the service and of content origins, by status.", labels=["status"]
    )
    for status, count in sorted(now.requests.items()):
        requests.add_metric([str(status)], count)
    yield requests
    yield _one("syncer_token_age_seconds", "The age of the access token.", now.token_age)


def _of_archive(now: Snapshot) -> Iterator[Metric]:
    yield _one("syncer_archive_bytes", "The newest revision of every image held, all workspaces.", now.archive_bytes)
    yield _one("syncer_archive_free_bytes", "What is free on the archive's disk.", now.archive_free_bytes)
    yield _one("syncer_archive_lost_files", "Kept files that were damaged or missing beyond repair.", now.lost)
    done = [(("last",), now.verified), (("whole",), now.verified_whole)]
    yield _each(
        "syncer_verification_timestamp_seconds",
        "When the last verification ended, and by when the whole archive had been hashed.",
        ("scope",),
        [(scope, one.ended if one else None) for scope, one in done],
    )
    yield _each(
        "syncer_verification_damage",
        "How much damage the last verification found, and the latest one of each part.",
        ("scope",),
        [(scope, one.damage if one else None) for scope, one in done],
    )
    yield _one(
        "syncer_verification_next_timestamp_seconds", "When the next verification is due.", now.next_verification
    )


def _of_workspaces(workspaces: tuple[WorkspaceState, ...]) -> Iterator[Metric]:
    def family(name: str, text: str, values: Iterable[float | None]) -> Metric:
        ids = ((workspace.workspace_id,) for workspace in workspaces)
        return _each(f"syncer_workspace_{name}", text, ("workspace",), zip(ids, values, strict=True))

    yield _each(
        "syncer_workspace_info",
        "The workspace's name.",
        ("workspace", "name"),
        [((one.workspace_id, one.name or one.workspace_id), 1) for one in workspaces],
    )
    yield family("stale", "Whether the last good run is too long ago.", (one.stale for one in workspaces))
    yield family("stale_after_seconds", "How long ago it may be.", (one.stale_after for one in workspaces))
    yield family(
        "last_success_timestamp_seconds", "When the last good run ended.", (one.last_success for one in workspaces)
    )
    yield family(
        "last_full_timestamp_seconds", "When the last complete full pass ended.", (one.last_full for one in workspaces)
    )
    yield family("bytes", "The newest revision of every image held.", (one.bytes for one in workspaces))
    yield family("owed_images", "Images that failed and are tried first next time.", (one.owed for one in workspaces))
    yield _each(
        "syncer_workspace_images",
        "Images held: live at the service, or gone there and kept here.",
        ("workspace", "state"),
        [
            ((one.workspace_id, state), count)
            for one in workspaces
            for state, count in (("live", one.live), ("gone", one.gone))
        ],
    )
    yield _each(
        "syncer_workspace_uploads",
        "Contents that were meant for the service, by how far they have come.",
        ("workspace", "state"),
        [((one.workspace_id, state), count) for one in workspaces for state, count in one.uploads.items()],
    )
    yield _each(
        "syncer_workspace_next_run_timestamp_seconds",
        "When the next run is due.",
        ("workspace", "mode"),
        [((one.workspace_id, mode), due) for one in workspaces for mode, due in one.next_run.items()],
    )


def _of_runs(workspaces: tuple[WorkspaceState, ...]) -> Iterator[Metric]:
    runs = [((one.workspace_id, mode), run) for one in workspaces for mode, run in one.last_run.items()]

    def family(name: str, text: str, values: Iterable[float]) -> Metric:
        labelled = zip((labels for labels, _ in runs), values, strict=True)
        return _each(f"syncer_workspace_last_run_{name}", text, ("workspace", "mode"), labelled)

    yield family("timestamp_seconds", "When the last run ended.", (run.ended for _, run in runs))
    yield family("duration_seconds", "How long the last run took.", (run.seconds for _, run in runs))
    yield family("complete", "Whether the last run was complete.", (run.complete for _, run in runs))
    yield family("bytes", "What the last run stored.", (run.bytes for _, run in runs))
    yield family("requests", "How many requests the last run sent.", (run.requests for _, run in runs))
    yield _each(
        "syncer_workspace_last_run_images",
        "What came of the images in the last run.",
        ("workspace", "mode", "outcome"),
        [((*labels, outcome), count) for labels, run in runs for outcome, count in run.counts.items()],
    )


def _one(name: str, text: str, value: float | None) -> Metric:
    return _each(name, text, (), [((), value)])


def _each(name: str, text: str, labels: tuple[str, ...], samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, float(value))
    return family
