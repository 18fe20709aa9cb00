"""Background work: one file a process, one file a projection."""
