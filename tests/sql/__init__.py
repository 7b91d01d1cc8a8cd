"""Facts about the SQL that the verbs become."""
