"""Engines keep rows; they know tables, conditions and transactions, and nothing of swarms."""
