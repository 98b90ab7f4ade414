"""Which requests arise, and when: one file a kind, YAMLs in conf/workload/."""
