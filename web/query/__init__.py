"""The query port: projections, rows, changes, the audit log, parked events, dead letters."""
