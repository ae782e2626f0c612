"""The watch folder: which files are complete, and what becomes of them. Nothing of HTTP, SQL or the archive."""
