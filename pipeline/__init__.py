"""Which device should run which part of a network, and what it costs in time, energy and carbon."""
