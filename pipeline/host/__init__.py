"""Locks, files, signals and processes of the machine that the pipeline runs on."""
