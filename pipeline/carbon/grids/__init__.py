"""Sources of carbon intensity: one file a source, one YAML in conf/grid/."""
