"""The OpenAPI document of each port, and the page that shows it."""
