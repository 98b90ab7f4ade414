"""The event loop that all backends share: requests, queues, outages, and the rows that they produce."""
