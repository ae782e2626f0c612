"""The hosted service: requests and answers as values, shifting pages, tokens, pacing, the client. Nothing of files or SQL."""
