"""`swarm-persistence stats`."""


def add_parser(c): ...
