"""The Faust app of a worker, its banner, its log and its watchdog."""
