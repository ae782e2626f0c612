"""Say what a run came to: what is wrong or well again by it, who is told, and when its work is tried again.

What is wrong with one workspace alone is tried again later and later, and keeps no other waiting. What is wrong for all
of them (a service out of reach, an archive that is away) keeps all waiting, but for what a person asks for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import structlog

from syncer.daemon.account import Account
from syncer.daemon.ends import INCOMPLETE, End, Ended
from syncer.daemon.queue import Batch, Queue
from syncer.daemon.schedule import Job, Work
from syncer.daemon.snapshot import Cause
from syncer.daemon.telling import Telling
from syncer.daemon.troubles import Changed, Key, Troubles, pause
from syncer.daemon.world import World
from syncer.errors import AlreadyRunning

FOLDER = "watch folder of "
INCOMPLETE_RETRIES = 3  # a pass that left images out is made again so often before its time …
INCOMPLETE_PAUSES = 4  # … after pauses as long as if it had failed so often before
BUSY_TRIES = 2  # so often is an archive that somebody else writes to waited for without a word

log = structlog.get_logger()


class Verdicts:
    """Judges one run after the other."""

    def __init__(
        self,
        queue: Queue,
        troubles: Troubles,
        account: Account,
        telling: Telling,
        possible: Callable[[Job], bool],
        world: World,
    ) -> None:
        self._queue = queue
        self._troubles = troubles
        self._account = account
        self._telling = telling
        self._possible = possible
        self._world = world
        self._tries: Counter[Key] = Counter()  # in vain, since it was last done well
        self._streak = 0  # of runs that came to nothing at all

    def tell(self, change: Changed | None, run: str | None) -> None:
        """Tell everybody of a change, brought by this run; None is no change."""
        self._telling.changed(change, run, self._account.known.workspaces.values())

    def remember_damage(self) -> None:
        """Take up the damage that verifications before this life found, and that none has found mended since."""
        for found in (self._account.known.verified_whole, self._account.known.verified):
            if found is not None and found.damage:
                about = f"{found.part or '*'}/{found.parts}"
                text, since = f"damage was found (part {about})", datetime.fromtimestamp(found.ended, UTC)
                hint = "run `syncer verify --repair`, and then `syncer verify`"
                self.tell(self._troubles.arise((Work.VERIFY, about), Cause.DAMAGE, text, hint, since), None)

    def judge_folders(self, problems: Mapping[str, str | None]) -> None:
        """Take note of why the watch folders of these workspaces cannot be watched just now; None where they can."""
        now = self._world.now()
        keys: dict[Key, str] = {(None, f"{FOLDER}{id_}"): text for id_, text in problems.items() if text is not None}
        for key, text in keys.items():
            self.tell(self._troubles.arise(key, Cause.UPLOADS, text, "", now), None)
        well = [key for key in self._troubles.keys if key[1].startswith(FOLDER) and key not in keys]
        self.tell(self._troubles.heal(well, now), None)

    def judge(self, batch: Batch, tried: Mapping[Key, Job], ended: Ended) -> None:
        """Draw the conclusions of a run that tried these."""
        now, good = self._world.now(), ended.code == 0
        self._heal_verified(ended)
        bad = {} if good else {key: job for key, job in tried.items() if key[1] not in ended.whole} or dict(tried)
        shared = ended.futile and not ended.each  # what is wrong is not one workspace's own
        self._streak = self._streak + 1 if shared else 0
        later = self._later_by(self._streak)
        busy = ended.code == AlreadyRunning.exit_code and self._streak <= BUSY_TRIES
        if busy:
            log.info("run.postponed", reason=ended.text)
        for key, job in bad.items():
            if not self._possible(job):
                continue
            end = ended.each.get(key[1], ended)
            if not busy:
                cause = Cause.of(end.code) or Cause.BUG
                if batch.work is Work.UPLOAD and cause is Cause.INCOMPLETE:
                    cause = Cause.UPLOADS
                self.tell(self._troubles.arise(key, cause, end.text, end.hint, now), ended.run)
            if shared:
                self._queue.hold([job], self._world.clock(), later)
            else:
                self._again(key, job, end)
        self._queue.close(later if shared else 0.0)
        healed = ({(batch.work, one) for one in ended.whole} | tried.keys()) - bad.keys()
        if batch.work is Work.FULL:
            healed |= {(Work.QUICK, one) for _, one in healed}
        for key in healed:
            del self._tries[key]
        self.tell(self._troubles.heal(healed, now), ended.run)
        if not busy and batch.work is not Work.UPLOAD:
            well = good and all(cause.passing for cause in self._troubles.causes)
            self._telling.ended(ended.run, "\n".join(filter(None, (ended.text, ended.hint))), ok=well)

    def _heal_verified(self, ended: Ended) -> None:
        """Forget the damage of before all was found well: by us, or by somebody else."""
        whole = self._account.known.verified_whole
        if whole is not None and not whole.damage:
            proven = datetime.fromtimestamp(whole.ended, UTC)
            self.tell(self._troubles.heal_older(Work.VERIFY, proven, self._world.now()), ended.run)

    def _again(self, key: Key, job: Job, end: End) -> None:
        """Have work that came to nothing tried again, later and later; what was done in part, a few times only."""
        self._tries[key] += 1
        tries = self._tries[key]
        if end.futile:
            wait = max(0.0, end.until - self._world.now().timestamp())
            self._queue.hold([job], self._world.clock(), max(self._later_by(tries), self._world.clock() + wait))
        elif end.code == INCOMPLETE and tries <= INCOMPLETE_RETRIES:
            self._queue.hold([job], self._world.clock(), self._later_by(tries + INCOMPLETE_PAUSES))

    def _later_by(self, failures: int) -> float:
        return self._world.clock() + pause(failures, self._world.chance())
