"""Workloads, the requests and their arrival times: one file a kind, with YAMLs in conf/workload/."""
