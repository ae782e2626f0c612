"""What syncer does, one file an operation. Only here do service, archive and manifest meet."""
