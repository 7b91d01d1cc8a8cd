"""Copies all records of a swarm between storages, and to and from a file of JSON lines."""
