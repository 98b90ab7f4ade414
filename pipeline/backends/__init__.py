"""Run a plan over a workload and say what happened: one contract, one file a backend."""
