"""What views of both ports read from a request: bodies, preferences, pages, waiting answers."""
