"""Engines keep rows; they know tables, conditions and transactions, but not swarms."""
