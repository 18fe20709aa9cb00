"""The commands of `faust -A app`."""
