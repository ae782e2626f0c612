"""An imitation of the image service over real HTTP. It imports nothing of the client: no shared misreadings."""

from . import faults, uploads
from .changes import Changes, mutate
from .corpus import BRAND, CLOSED, ME, SOCIAL
from .server import Options, Served, Simulator
from .state import Shelf
from .uploads import Uploaded

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
    "Uploaded",
    "faults",
    "mutate",
    "uploads",
]
