"""The rates of the storage on PostgreSQL beside others' on the same server: `python -m benchmarks.postgres`."""
