"""Device processes of this host: their start, their messages and the measurement of models on them."""
