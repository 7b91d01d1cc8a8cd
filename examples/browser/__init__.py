"""A swarm in a web page."""
