"""Facts about the live page: what it shows, and what its forms change."""
