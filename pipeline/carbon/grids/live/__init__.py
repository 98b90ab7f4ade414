"""Services that publish carbon intensity: one file a service, one YAML in conf/grid/."""
