"""Meters of this host's energy: one file a meter, one YAML in conf/meter/."""
