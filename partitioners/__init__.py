"""Where to cut: one file per strategy, each with a YAML in conf/partitioner/."""
