"""Version 16: tasks name the span in which they were stored.

Code of earlier versions keeps working. What it stores names no span, and what it updates keeps the one it has.
"""

UP = ('ALTER TABLE {schema}.tasks ADD COLUMN trace_parent text COLLATE "C"',)

DOWN = ("ALTER TABLE {schema}.tasks DROP COLUMN IF EXISTS trace_parent",)
