"""The hosted service: wire values, shifting pages, tokens, pacing, the client. Nothing of files or SQL."""
