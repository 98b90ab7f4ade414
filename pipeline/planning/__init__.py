"""Plans for a problem: the cost model, the exact front, Pareto sets, plan files."""
