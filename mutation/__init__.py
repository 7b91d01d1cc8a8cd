"""Mutation testing of storage/, worker/ and engines/sql/sqlite/, by a random sample: `make mutate`."""
