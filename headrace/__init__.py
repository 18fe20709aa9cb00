"""What an event is, what a projection is, and how events are folded. Pure: no I/O."""
