"""Why the carbon of two runs differs; fronts of several sweeps beside one another."""
