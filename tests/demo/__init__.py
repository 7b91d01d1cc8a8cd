"""The demo: its parts, and the whole swarm."""
