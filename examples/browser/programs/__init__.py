"""The swarm of the page."""
