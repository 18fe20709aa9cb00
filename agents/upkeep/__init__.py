"""Upkeep of a worker: opening the database, disk and backlog checks, stalls, idle partitions, field indexes."""
