"""Facts about the engines that evaluate queries in Python, on rows."""
