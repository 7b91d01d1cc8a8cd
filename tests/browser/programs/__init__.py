"""What the tests run inside the page. Each function takes and returns JSON."""
