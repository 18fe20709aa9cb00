"""Keys, and who did what."""
