"""A real Chromium that runs the package on Pyodide: for the browser tests, the browser benchmark and the demo page."""
