"""Meters of this host: one file a meter, one YAML in conf/meter/."""
