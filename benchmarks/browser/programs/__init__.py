"""What the benchmark runs inside the page."""
