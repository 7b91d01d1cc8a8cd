"""Programs to try, and to learn from."""
