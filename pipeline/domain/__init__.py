"""The values that all other packages share, and the checks of their fields. No I/O."""
