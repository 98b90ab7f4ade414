"""Sweeps: the search space, the study, the Hydra sweeper, and what came of it."""
