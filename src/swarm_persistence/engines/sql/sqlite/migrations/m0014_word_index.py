"""Version 14: an index of the words of documents, for the collections that have one.

Writing a document indexes nothing: a search first indexes what was changed since the previous one, which it finds by
the change numbers. So code of versions 6 to 13 that has the file open keeps working, and its documents are found.
"""

UP = (
    """
    CREATE TABLE document_indexes (
      collection TEXT PRIMARY KEY,
      change_number INTEGER NOT NULL,
      sequence INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    # The words are split and case-folded already, so the tokenizer must not split them further.
    """
    CREATE VIRTUAL TABLE document_words USING fts5(
      words, content='', contentless_delete=1, detail=none, tokenize="ascii tokenchars '_'"
    )
    """,
    """
    CREATE TRIGGER document_words_deleted AFTER DELETE ON documents
    WHEN EXISTS (SELECT 1 FROM document_indexes) BEGIN
      DELETE FROM document_words WHERE rowid = OLD.sequence;
    END
    """,
)

DOWN = ("DROP TRIGGER document_words_deleted", "DROP TABLE document_words", "DROP TABLE document_indexes")
