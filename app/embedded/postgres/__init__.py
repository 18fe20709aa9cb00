"""The embedded PostgreSQL: its files, its system user and its process."""
