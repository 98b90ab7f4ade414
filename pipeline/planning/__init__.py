"""From a problem to plans: the cost model, the exact front, Pareto sets, plan files."""
