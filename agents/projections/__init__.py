"""The projections that come with Headrace, one file each."""
