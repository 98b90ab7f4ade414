"""Sweeps: the search space, the Hydra sweeper, its studies and its reports."""
