"""The error of a demo that cannot go on."""


class DemoError(Exception):
    """The swarm cannot do its work; the text says why and what to do."""
