"""The engine on a browser's IndexedDB: Python evaluates, JavaScript moves the rows."""
