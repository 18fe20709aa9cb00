"""The views of the query port."""
