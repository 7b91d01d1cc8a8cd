"""The engine on a browser's IndexedDB: Python decides which rows are read and written, JavaScript moves them."""
