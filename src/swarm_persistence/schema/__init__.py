"""What a table is: derived from the models once, read by every engine."""
