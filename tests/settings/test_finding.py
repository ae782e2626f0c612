"""Which file holds the configuration."""

from pathlib import Path

import pytest

from syncer.errors import ConfigError
from syncer.settings import find_config


def test_configuration_is_looked_for_in_order(tmp_path: Path) -> None:
    """The one asked for, the variable's, the current folder's, the person's own."""
    asked, named, here = tmp_path / "asked.toml", tmp_path / "named.toml", tmp_path / "here"
    own = tmp_path / "xdg" / "syncer" / "syncer.toml"
    for path in (asked, named, here / "syncer.toml", own):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}

    assert find_config(asked, {**environ, "SYNCER_CONFIG": str(named)}, here) == asked
    assert find_config(Path("../asked.toml"), environ, here).samefile(asked)  # type: ignore[union-attr]  # None fails
    assert find_config(None, {**environ, "SYNCER_CONFIG": str(named)}, here) == named
    assert find_config(None, environ, here) == here / "syncer.toml"
    assert find_config(None, environ, tmp_path) == own
    assert find_config(None, {"HOME": str(tmp_path)}, tmp_path) is None
    own.parent.rename(tmp_path / "syncer")
    (tmp_path / ".config").mkdir()
    (tmp_path / "syncer").rename(tmp_path / ".config" / "syncer")
    assert find_config(None, {"HOME": str(tmp_path)}, tmp_path) == tmp_path / ".config" / "syncer" / "syncer.toml"


def test_configuration_asked_for_has_to_exist(tmp_path: Path) -> None:
    """A slip in the path must not fall back to another configuration."""
    (tmp_path / "syncer.toml").touch()

    with pytest.raises(ConfigError, match="does not exist"):
        find_config(tmp_path / "slip.toml", {}, tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        find_config(None, {"SYNCER_CONFIG": "slip.toml"}, tmp_path)
