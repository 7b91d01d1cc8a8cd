"""A server under load, beside a working swarm: how much of the workers' throughput it leaves them."""
