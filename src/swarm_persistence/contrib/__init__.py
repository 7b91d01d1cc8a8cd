"""Adapters to the frameworks in which agents are written: a module and an extra each, over public names only."""
