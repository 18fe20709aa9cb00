"""Comparing outbox, event store, topic and projections of a running system."""
