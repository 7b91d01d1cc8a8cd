"""The engine that keeps its rows in this process's memory."""
