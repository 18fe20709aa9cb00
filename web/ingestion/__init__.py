"""The ingestion port: posting events, their status, the known event types."""
