"""Version 12: tasks name the span in which they were stored.

Code of versions 6 to 11 that has the file open keeps working. What it stores names no span, and what it updates keeps
the one it has.
"""

UP = ("ALTER TABLE tasks ADD COLUMN trace_parent TEXT",)

DOWN = ("ALTER TABLE tasks DROP COLUMN trace_parent",)
