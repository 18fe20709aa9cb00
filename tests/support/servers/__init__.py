"""Real servers, workers and what stands between them."""
