"""Partitioners, which choose where to cut a model: one file each, with a YAML in conf/partitioner/."""
