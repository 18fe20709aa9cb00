"""Who calls, and what the caller may do: pure rules, no I/O."""
