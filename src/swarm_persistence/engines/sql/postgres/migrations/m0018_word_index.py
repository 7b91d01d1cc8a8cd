"""Version 18: an index of the words of documents, for the collections that have one.

Writing a document indexes nothing: a search first indexes what was changed since the previous one, which it finds by
the change numbers. So code of earlier versions keeps working, and its documents are found.

Documents are numbered in the order in which a put names them, for which a role needs a privilege on their sequence.
"""

UP = (
    """
    CREATE TABLE {schema}.document_indexes (
      collection text COLLATE "C" PRIMARY KEY,
      change_number bigint NOT NULL,
      sequence bigint NOT NULL,
      origin text NOT NULL
    )
    """,
    """
    CREATE TABLE {schema}.document_words (
      sequence bigint PRIMARY KEY,
      words text[] COLLATE "C" NOT NULL
    )
    """,
    "CREATE INDEX document_words_by_word ON {schema}.document_words USING gin (words) WITH (fastupdate = off)",
    """
    CREATE FUNCTION {schema}.forget_words() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF EXISTS (SELECT FROM {schema}.document_indexes) THEN
        DELETE FROM {schema}.document_words USING deleted WHERE document_words.sequence = deleted.sequence;
      END IF;
      RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER forget_words AFTER DELETE ON {schema}.documents REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.forget_words()
    """,
    """
    DO $$
    DECLARE
      writer text;
    BEGIN
      FOR writer IN
        SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
        FROM pg_catalog.pg_class, pg_catalog.aclexplode(relacl)
        WHERE pg_class.oid = '{schema}.documents'::regclass AND grantee <> relowner AND privilege_type = 'INSERT'
      LOOP
        EXECUTE 'GRANT USAGE ON SEQUENCE {schema}.documents_sequence_seq TO ' || writer;
      END LOOP;
    END
    $$
    """,
)

DOWN = (
    "DROP TRIGGER IF EXISTS forget_words ON {schema}.documents",
    "DROP FUNCTION IF EXISTS {schema}.forget_words()",
    "DROP TABLE {schema}.document_words",
    "DROP TABLE {schema}.document_indexes",
)
