"""Turn a TOML file, the environment and the command line into frozen `Settings`.

All problems are raised together, each with its path, and no secret is ever repeated. Credentials are not needed to
load the settings; `credentials` fetches them when the service is to be asked. What a value means for the work is left
to the rooms.
"""

from syncer.settings.loading import COMMANDS, example, find_config, load
from syncer.settings.secrets import ClientCredentials, Secret, StaticToken, credentials
from syncer.settings.tables import (
    ArchiveSettings,
    DaemonSettings,
    LimitSettings,
    NotifySettings,
    SafetySettings,
    ScheduleSettings,
    ServiceSettings,
    Settings,
    WorkspaceSchedule,
    WorkspaceSettings,
)
from syncer.settings.values import parse_duration, parse_listen, parse_size

__all__ = [
    "COMMANDS",
    "ArchiveSettings",
    "ClientCredentials",
    "DaemonSettings",
    "LimitSettings",
    "NotifySettings",
    "SafetySettings",
    "ScheduleSettings",
    "Secret",
    "ServiceSettings",
    "Settings",
    "StaticToken",
    "WorkspaceSchedule",
    "WorkspaceSettings",
    "credentials",
    "example",
    "find_config",
    "load",
    "parse_duration",
    "parse_listen",
    "parse_size",
]
