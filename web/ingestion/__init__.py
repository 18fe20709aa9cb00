"""The views of the ingestion port."""
