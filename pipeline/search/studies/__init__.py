"""Studies: Optuna's, stored so that another process can resume them."""
