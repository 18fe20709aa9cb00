"""From the outbox to the event store and the topic."""
