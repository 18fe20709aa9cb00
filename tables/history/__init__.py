"""The event store and what is read from it."""
