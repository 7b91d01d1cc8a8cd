"""Version 5: with commits that are not synced, numbers are reserved durably before they are assigned.

Code of versions 2 to 4 that has the file open keeps working. With `durability="normal"`, it reserves none.
"""

UP = (
    """
    CREATE TABLE reserved_numbers (
      name TEXT PRIMARY KEY,
      number INTEGER NOT NULL,
      boot TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
)

DOWN = ("DROP TABLE reserved_numbers",)
