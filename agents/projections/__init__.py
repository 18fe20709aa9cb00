"""The projections that ship with Headrace, one file each."""
