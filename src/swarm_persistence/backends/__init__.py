"""The public storages: each a `Storage` over its engine."""
