"""Configurations for the tests of their reading: written, loaded, and refused without a secret in the words."""

from pathlib import Path

import pytest

from syncer.errors import ConfigError
from syncer.settings import Settings, load

CANARY = "c4n4ry-s3cr3t"
ENOUGH = '[archive]\npath = "kept"\n[[workspaces]]\nid = "one"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "syncer.toml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, text: str = ENOUGH, environ: dict[str, str] | None = None, **overrides: object) -> Settings:
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    return load(written(folder, text), environ or {}, named)[0]


def refused(folder: Path, text: str, environ: dict[str, str] | None = None, **overrides: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, environ, **overrides)
    assert_silent(caught.value)
    return caught.value.problems


def assert_silent(error: ConfigError) -> None:
    """Nothing that a traceback or a log could print of the error holds the canary."""
    assert CANARY not in f"{error} {error.hint} {error.problems} {error.facts}"
    cause = error.__cause__
    assert cause is None or isinstance(cause, OSError)
