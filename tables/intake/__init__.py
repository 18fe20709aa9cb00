"""What is accepted but not yet in the event store: the outbox, its group commit, its limits; dead letters."""
