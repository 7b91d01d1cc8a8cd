"""LangGraph's checkpoints and memory beside its own savers and store, and documents beside the driver."""
