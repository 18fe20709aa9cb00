"""The HTTP server of a port: connections, hot paths, problems, health and metrics."""
