"""One configuration from end to end: its parts, and its actions: run, profile, validate."""
