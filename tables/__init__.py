"""PostgreSQL: one module a table; all SQL is here."""
