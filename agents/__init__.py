"""Background work, a folder for each concern, and the projections, a file each."""
