"""SQLite: one writer thread with group commit, and a pool of reader threads."""
