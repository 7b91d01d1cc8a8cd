"""Facts about transactions that are not for every storage to prove."""
