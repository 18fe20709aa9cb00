"""Accepted events on their way to the event store: the outbox, group commit and limits; and dead letters."""
