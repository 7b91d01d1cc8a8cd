"""The engines that work on rows in Python: one planner, one evaluator, one interpretation of reads and of steps.

All of it is synchronous code over a `RowSource`. `memory` has all rows and runs it once; `indexeddb` runs it as a
generator that yields requests for missing rows (`indexeddb/exchange.py`).
"""
