"""HTTP: the server of a port, and the views of ingestion and of the query service."""
