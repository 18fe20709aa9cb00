"""Reading the event store: the audit log, event status, row histories, and the snapshot for verify."""
