"""What the daemon lives in, handed in so that tests can steer it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from syncer.daemon.schedule import CallLater
from syncer.daemon.service_manager import ServiceManager
from syncer.operations.rooms import utc_now


@dataclass(frozen=True, slots=True)
class World:
    """What the daemon lives in: an environment, a service manager, clocks (seconds; UTC), timers, chance (0 to 1).

    `call_later` None is the loop's own.
    """

    environ: Mapping[str, str]
    manager: ServiceManager
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = utc_now
    call_later: CallLater | None = None
    chance: Callable[[], float] = random.random
