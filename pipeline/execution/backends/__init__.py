"""Who runs a job: one file a backend, one YAML in conf/backend/, and the events that they share."""
