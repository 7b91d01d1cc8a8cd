"""The query as a value, its builder, its SQL text and its semantics."""
