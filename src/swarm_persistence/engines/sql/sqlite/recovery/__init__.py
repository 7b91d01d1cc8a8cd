"""Salvages the readable records of a damaged file, page by page, without SQLite's own reader, which stops at damage."""
