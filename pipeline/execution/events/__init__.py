"""A run as events, the same for every backend: requests, queues, outages, and the rows that they leave."""
