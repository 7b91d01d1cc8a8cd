"""Version 5: numbers are reserved durably before a commit that is not synced gives them out.

Code of versions 2 to 4 that has the file open works on. With `durability="normal"`, it reserves none.
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
