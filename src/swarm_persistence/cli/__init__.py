"""The command line: the demo, and a look at a database."""
