"""Sources of carbon intensity over time: one file a source, one YAML in conf/grid/."""
