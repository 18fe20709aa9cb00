"""Who may send a request: authentication, scopes, limits."""
