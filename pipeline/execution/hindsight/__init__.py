"""The least carbon for a run's requests, if all requests and intensities were known in advance."""
