"""Schedulers, which choose the device that runs a stage: one file each, with a YAML in conf/scheduler/."""
