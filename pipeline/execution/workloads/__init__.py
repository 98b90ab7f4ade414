"""Which requests arise, and when: one file per kind of workload, with YAMLs in conf/workload/."""
