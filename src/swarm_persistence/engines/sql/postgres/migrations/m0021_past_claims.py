"""Version 21: the claims of a task that have ended.

Code of earlier versions keeps working. A claim that it ends is not listed, and it leaves the list as it is. The
constant default rewrites no row.
"""

UP = ("ALTER TABLE {schema}.tasks ADD COLUMN past_claims json NOT NULL DEFAULT '[]'",)

DOWN = ("ALTER TABLE {schema}.tasks DROP COLUMN IF EXISTS past_claims",)
