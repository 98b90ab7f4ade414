"""Reports of a sweep: progress while it runs, the front at its end."""
