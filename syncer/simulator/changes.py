"""What a week does to a workspace: new images, other bytes, other metadata, deletions. For the demo."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .state import Shelf


@dataclass(frozen=True, slots=True)
class Changes:
    """How many images of each kind there were."""

    added: int = 0
    repainted: int = 0  # other bytes under the same id
    renamed: int = 0  # only metadata changed
    deleted: int = 0


def mutate(shelf: Shelf, *, added: int = 3, repainted: int = 2, renamed: int = 1, deleted: int = 2) -> Changes:
    """Change a workspace so far as it has images for it, no image twice, and say what was done."""
    chance = random.Random(len(shelf))  # noqa: S311 - pictures to play with, not secrets
    touched = chance.sample(shelf.ids, min(len(shelf), repainted + renamed + deleted))
    new_bytes, new_words, gone = (
        touched[:repainted],
        touched[repainted : repainted + renamed],
        touched[repainted + renamed :],
    )
    for id_ in new_bytes:
        shelf.repaint(id_)
    for id_ in new_words:
        shelf.change(id_, prompt=f"{shelf[id_].row['prompt']}, final version".removeprefix(", "))
    for id_ in gone:
        shelf.delete(id_)
    return Changes(len(shelf.add_many(added)), len(new_bytes), len(new_words), len(gone))
