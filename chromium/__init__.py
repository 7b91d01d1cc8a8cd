"""Real browsers that run the package on Pyodide: for the browser tests, the browser benchmark and the demo page."""
