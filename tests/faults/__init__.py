"""What breaks under load, and the bugs that the checker must find."""
