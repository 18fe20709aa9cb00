"""What a fault test asks of PostgreSQL."""

from __future__ import annotations

IN_FLIGHT = """
SELECT (SELECT count(*) FROM outbox)
     + (SELECT count(*) FROM event_store AS s WHERE s.position > coalesce((SELECT min(position) FROM progress), 0)
        AND EXISTS (SELECT FROM progress AS p WHERE p.partition = s.partition AND p.position < s.position))
"""
PUBLISHED = "SELECT count(*) FROM event_store WHERE source = $1 AND NOT EXISTS (SELECT FROM outbox WHERE source = $1)"
APPLIED = """
SELECT count(*) FROM event_store AS s WHERE s.source = $1 AND NOT EXISTS (
    SELECT FROM unnest($2::text[]) AS known (projection)
    LEFT JOIN progress AS p ON p.projection = known.projection AND p.partition = s.partition
    WHERE coalesce(p.position, 0) < s.position
)
"""
PROJECTIONS = ["devices", "readings_hourly", "event_types"]
