"""Where bytes live: names, sidecars, durable storage, the journal. Nothing of HTTP or SQL."""
