"""Who runs a stage: one file a strategy, one YAML in conf/scheduler/."""
