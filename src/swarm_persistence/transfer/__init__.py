"""Moves all records of a swarm from one place to another: between storages, and to and from a file of JSON lines."""
