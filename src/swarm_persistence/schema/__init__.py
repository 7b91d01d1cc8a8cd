"""The tables: derived from the models once, and used by every engine."""
