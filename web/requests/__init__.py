"""Reading requests, for the views of both ports: bodies, preferences, query strings, waiting answers."""
