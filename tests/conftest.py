"""Fixtures for all rooms, and the canary: no secret of any simulated service may turn up in what a test leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from support import CANARY, configure, settings_of

from syncer.redaction import Redactor, redact
from syncer.settings import Settings
from syncer.simulator.server import Options, Simulator

# How long an example takes is the machine's affair: a test that may fail by the clock fails where others are at work.
hypothesis.settings.register_profile("syncer", deadline=None)
hypothesis.settings.load_profile("syncer")

_tokens: set[str] = set()  # that simulated services gave out in this test


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    """A simulated service with 24 images in two workspaces."""
    async with Simulator.start(Options(images=24, client_secret=CANARY)) as running:
        yield running
        for served in running.requests:
            _tokens.add(served.headers.get("Authorization", "").partition(" ")[2])
        _tokens.discard("")


@pytest.fixture
def shelf(sim: Simulator) -> str:
    """The id of the simulated service's first workspace."""
    return next(iter(sim.workspaces))


@pytest.fixture
def settings(sim: Simulator, shelf: str, tmp_path: Path) -> Settings:
    """A configuration for the first workspace alone."""
    return settings_of(configure(sim, tmp_path, [shelf]))


@pytest.fixture
def configured(sim: Simulator, shelf: str, tmp_path: Path) -> Callable[..., Settings]:
    """Make other configurations for the first workspace: `configured(limits={"retries": 0})`."""

    def make(**tables: dict[str, object]) -> Settings:
        return settings_of(configure(sim, tmp_path, [shelf], **tables))

    return make


@pytest.fixture(autouse=True)
def _nothing_secret_on_disk(tmp_path: Path) -> Iterator[None]:
    """After each test: no file that it left holds a secret, but the one that is meant to."""
    _tokens.clear()
    yield
    secrets = [secret.encode() for secret in (CANARY, *_tokens)]
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != "client_secret":
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), f"a secret stands in {path.name}"


@pytest.fixture(autouse=True)
def _secrets_of_one_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test has the log blank would blank ordinary words in the others."""
    fresh = Redactor()
    for name in ("_lasting", "_passing", "_known"):
        monkeypatch.setattr(redact, name, getattr(fresh, name))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """No output and no log of any test holds a secret."""
    outcome = yield
    report = outcome.get_result()
    printed = "".join(text for _, text in report.sections) + str(report.longrepr or "")
    if (
        report.when == "call"
        and any(secret in printed for secret in (CANARY, *_tokens))
        and "canary" not in item.keywords
    ):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: a secret was printed"
