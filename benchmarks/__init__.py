"""The benchmark suite: the storage beside what Python users combine by hand, side by side in one run."""
