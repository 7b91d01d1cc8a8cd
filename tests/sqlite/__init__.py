"""Facts about the SQLite storage and its engine, with real files, threads and processes."""
