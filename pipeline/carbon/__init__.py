"""Carbon intensity, meters, and the ledger with its coefficients."""
