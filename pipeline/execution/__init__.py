"""From a job to records: backends, the event loop, device processes, workloads and schedules in hindsight."""
