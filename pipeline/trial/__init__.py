"""One configuration from end to end: what it is made of, and the three things that can be done with it."""
