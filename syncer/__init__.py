"""syncer keeps a faithful, verifiable, append-only copy of a team's images on neuroflash."""

__version__ = "0.1.0"
