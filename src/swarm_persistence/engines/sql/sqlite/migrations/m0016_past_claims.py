"""Version 16: the claims of a task that have ended.

Code of versions 6 to 15 opens the file and works on it. A claim that it ends is not listed, and it leaves the list as
it is.
"""

UP = ("ALTER TABLE tasks ADD COLUMN past_claims TEXT NOT NULL DEFAULT '[]'",)

DOWN = ("ALTER TABLE tasks DROP COLUMN past_claims",)
