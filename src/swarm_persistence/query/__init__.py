"""The query as a value, its builder, its text and its semantics."""
