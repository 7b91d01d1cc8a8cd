"""Version 20: copies of embeddings as arrays of numbers, for the functions of the extension `vector`.

A search makes the copies; writes do not. A copy is valid as long as the document has the change number of which it was
made, so code of earlier versions keeps working. The function that deletes the index entries of a deleted document is
replaced without locking the documents.
"""

_FORGET = """
    CREATE OR REPLACE FUNCTION {{schema}}.forget_words() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF EXISTS (SELECT FROM {{schema}}.document_indexes) THEN
        DELETE FROM {{schema}}.document_words USING deleted WHERE document_words.sequence = deleted.sequence;
      END IF;{more}
      RETURN NULL;
    END
    $$
    """
_FORGET_VECTORS = """
      IF EXISTS (SELECT FROM {schema}.document_vectors) THEN
        DELETE FROM {schema}.document_vectors USING deleted WHERE document_vectors.sequence = deleted.sequence;
      END IF;"""

UP = (
    """
    CREATE TABLE {schema}.document_vectors (
      sequence bigint PRIMARY KEY,
      change_number bigint NOT NULL,
      numbers real[] NOT NULL
    )
    """,
    # The numbers do not compress, and uncompressed values are read faster.
    "ALTER TABLE {schema}.document_vectors ALTER COLUMN numbers SET STORAGE EXTERNAL",
    _FORGET.format(more=_FORGET_VECTORS),
)

DOWN = (
    _FORGET.format(more=""),
    "DROP TABLE IF EXISTS {schema}.document_vectors",
)
