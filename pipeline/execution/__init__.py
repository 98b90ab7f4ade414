"""From a job to records: what runs where and when."""
