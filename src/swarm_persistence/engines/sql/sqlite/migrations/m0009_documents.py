"""Version 9: documents. Large columns come last, so that the other columns of a row are read without them.

Code of versions 6 to 8 that has the file open keeps working: it sees no documents.
"""

UP = (
    """
    CREATE TABLE documents (
      sequence INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      collection TEXT NOT NULL,
      key TEXT NOT NULL,
      label TEXT,
      created_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      expires_at INTEGER,
      version INTEGER NOT NULL,
      change_number INTEGER NOT NULL DEFAULT 0,
      value TEXT NOT NULL,
      data BLOB,
      embedding BLOB
    ) STRICT
    """,
    "CREATE INDEX documents_by_arrival ON documents (collection)",
    "CREATE INDEX documents_by_label ON documents (label, id) WHERE label IS NOT NULL",
    "CREATE INDEX documents_expiring ON documents (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX documents_changed ON documents (change_number)",
    # The number of a deleted row must not be assigned again: a reader may have seen it.
    """
    CREATE TRIGGER documents_deleted AFTER DELETE ON documents BEGIN
      UPDATE change_floor SET number = OLD.change_number WHERE number < OLD.change_number;
    END
    """,
)

DOWN = ("DROP TABLE documents",)
