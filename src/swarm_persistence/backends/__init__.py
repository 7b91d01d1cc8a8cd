"""The storages that users name: each a `Storage` over its engine."""
