"""Facts about the blocking form."""
