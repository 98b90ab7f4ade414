"""Where to cut: one file a strategy, one YAML in conf/partitioner/."""
