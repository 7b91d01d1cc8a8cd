"""The demo: a swarm of processes measures Python's own standard library, and proves its result."""
