"""HTTP: one file a service."""
