"""All access to PostgreSQL: all SQL is here, usually one module for each table."""
