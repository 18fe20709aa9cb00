"""The rows of the projections, their progress, their indexes and their changes."""
