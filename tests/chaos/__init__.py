"""Facts about a swarm whose workers are killed all the time."""
