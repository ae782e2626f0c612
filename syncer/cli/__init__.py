"""The command line: arguments in, exit code out. One thin file a command."""
