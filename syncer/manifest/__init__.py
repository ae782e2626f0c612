"""What we know, in SQLite: the schema and the one thread that writes it. Nothing of HTTP or of the tree of files."""
