"""The least carbon at which a run could have been answered, had all been known in advance."""
