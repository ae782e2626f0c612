"""`syncer run`: one process that works to a schedule, and speaks up when it cannot."""
