"""Events, projections and histories for tests."""
