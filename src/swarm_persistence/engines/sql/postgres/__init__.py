"""The engine on a PostgreSQL server, over asyncpg."""
