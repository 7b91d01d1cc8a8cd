"""Engines that speak SQL: one compiler, small dialects."""
