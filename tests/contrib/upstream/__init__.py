"""The frameworks' own tests, from their source distributions, run with our adapters in the place of theirs."""
