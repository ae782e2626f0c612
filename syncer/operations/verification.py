"""What a verification is asked, how far it is, and what it came to."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from syncer.model import Finding, Harm


@dataclass(frozen=True, slots=True)
class Part:
    """A stable part of the images: the `number`-th of `of`, by their ids, so that all parts together are all."""

    number: int = 1
    of: int = 1

    def __call__(self, workspace_id: str, image_id: str) -> bool:
        """Say whether an image is in it."""
        if self.of == 1:
            return True
        name = hashlib.sha256(f"{workspace_id}\0{image_id}".encode("utf-8", "surrogatepass"))
        return int.from_bytes(name.digest()[:8]) % self.of == self.number - 1


@dataclass(frozen=True, slots=True)
class Options:
    """How thoroughly to look. `quick` looks at presence and size only."""

    quick: bool = False
    part: Part = field(default_factory=Part)
    rate: int | None = None  # bytes a second
    after: str = ""  # an interrupted verification hashed the pictures up to this path; they are not hashed again


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is; `total` is None while that is not known."""

    stage: str
    done: int
    total: int | None
    bytes: int


Watch = Callable[[Finding | Progress], None]


@dataclass(slots=True)
class Verification:
    """What a verification came to, filled while it runs."""

    pictures: int = 0
    sidecars: int = 0
    lines: int = 0
    bytes: int = 0
    reached: str = ""  # every picture up to this path has been hashed
    seal: str = ""  # of the journal's last line
    sealed: bool = True  # False: the line up to which the manifest is written was not met in the journal
    found: Counter[Harm] = field(default_factory=Counter)

    @property
    def damage(self) -> int:
        """How many findings are damage."""
        return sum(count for harm, count in self.found.items() if harm.damage)
