"""What the pipeline asks of the machine that it runs on: locks, files, processes."""
