"""Measures `WasmStorage` in a real Chromium, beside plain JavaScript that does the same in the same page."""
