"""Facts about the interface of the engines, and what both families share."""
