"""The Faust app of a worker, its banner, log, metrics and event loop watchdog."""
