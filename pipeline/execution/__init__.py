"""A job's run and its records: backends, event loop, device processes, workloads, schedules in hindsight."""
