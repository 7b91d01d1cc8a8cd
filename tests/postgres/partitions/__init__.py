"""Facts about history that is partitioned by periods of time."""
