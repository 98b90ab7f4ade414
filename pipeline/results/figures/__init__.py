"""Figures of fronts, schedulers and predictions."""
