"""The HTTP servers of this process, opened for a test."""
