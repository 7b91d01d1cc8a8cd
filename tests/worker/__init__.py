"""Facts about the worker, on real storages, and in real processes."""
