"""The command line: the worker, the demo, and the tools for a database."""
