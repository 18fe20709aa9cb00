"""Retrying and discarding parked events."""
