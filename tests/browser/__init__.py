"""Tests in a real Chromium: the package as Pyodide runs it, on the browser's own IndexedDB."""
