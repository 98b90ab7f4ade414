"""Backends, which run a job: one file a backend, one YAML in conf/backend/."""
