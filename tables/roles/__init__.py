"""What each service may do in PostgreSQL: one table of grants, the SQL that makes roles of it, and its checks."""
