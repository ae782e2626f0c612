"""An imitation of the image service over real HTTP. It imports nothing of the client: no shared misreadings."""

from . import faults
from .changes import Changes, mutate
from .corpus import BRAND, CLOSED, ME, SOCIAL
from .server import Options, Served, Simulator
from .state import Shelf

__all__ = [
    "BRAND",
    "CLOSED",
    "ME",
    "SOCIAL",
    "Changes",
    "Options",
    "Served",
    "Shelf",
    "Simulator",
    "faults",
    "mutate",
]
