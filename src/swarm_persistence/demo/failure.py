"""The error that ends the demo."""


class DemoError(Exception):
    """The swarm cannot continue; the message says why and what to do."""
