"""Parked events, which a projection could not apply, and events that an operator discarded."""
