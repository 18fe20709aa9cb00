-- A digest of each large event: whether a known event was sent again is decided by 32 bytes, not by reading a document of
-- up to a megabyte.

ALTER TABLE outbox ADD COLUMN content_digest bytea;
ALTER TABLE event_store ADD COLUMN content_digest bytea;
COMMENT ON COLUMN outbox.content_digest IS 'SHA-256 of a large event as it was sent, without a time that the sender did not give; empty for a small event, NULL for one from before there were digests.';
COMMENT ON COLUMN event_store.content_digest IS 'As in outbox.';

-- As outbox_accept, which workers of older versions still call, but `same` is found by the digest of a large event. It is
-- NULL if the digests differ, because the same content can be spelled in many ways, or if there is none. Then
-- events_are_same compares the documents, and no other post waits for it.
CREATE FUNCTION outbox_accept_group(
    ids text[], sources text[], event_types text[], subjects text[], event_times text[], times_given boolean[],
    partition_keys text[], key_hashes bigint[], events json[], digests bytea[]
) RETURNS TABLE (index bigint, same boolean) LANGUAGE plpgsql AS $$
DECLARE
    new_rows bigint[];
BEGIN
    WITH inserted AS (
        INSERT INTO outbox
            (id, source, event_type, subject, event_time, partition_key, key_hash, event, content_digest)
        SELECT g.id, g.source, g.event_type, g.subject, g.event_time::timestamptz, g.partition_key, g.key_hash, g.event,
               g.digest
        FROM unnest(ids, sources, event_types, subjects, event_times, partition_keys, key_hashes, events, digests)
            WITH ORDINALITY
            AS g (id, source, event_type, subject, event_time, partition_key, key_hash, event, digest, ord)
        ORDER BY g.ord
        ON CONFLICT (source, id) DO NOTHING
        RETURNING seq
    )
    SELECT coalesce(array_agg(seq), '{}') INTO new_rows FROM inserted;

    IF cardinality(new_rows) < cardinality(ids) THEN
        RETURN QUERY
        SELECT g.ord,
               CASE
                   WHEN waiting.content_digest = ''
                       THEN event_content_is_same(g.event::jsonb, waiting.event::jsonb, g.time_given)
                   WHEN waiting.content_digest = g.digest THEN true
               END
        FROM unnest(ids, sources, events, times_given, digests) WITH ORDINALITY
            AS g (id, source, event, time_given, digest, ord)
        JOIN outbox AS waiting ON waiting.source = g.source AND waiting.id = g.id
        WHERE waiting.seq <> ALL (new_rows);
    END IF;

    -- LATERAL with LIMIT keeps this a look-up by index however large the store is.
    RETURN QUERY
    SELECT g.ord,
           CASE
               WHEN stored.content_digest = '' THEN event_content_is_same(g.event::jsonb, stored.event, g.time_given)
               WHEN stored.content_digest = g.digest THEN true
           END
    FROM unnest(ids, sources, events, times_given, digests) WITH ORDINALITY
        AS g (id, source, event, time_given, digest, ord)
    CROSS JOIN LATERAL (
        SELECT s.event, s.content_digest FROM event_store AS s WHERE s.source = g.source AND s.id = g.id LIMIT 1
    ) AS stored;

    IF FOUND THEN
        DELETE FROM outbox
        WHERE seq = ANY (new_rows)
          AND EXISTS (SELECT FROM event_store AS s WHERE s.source = outbox.source AND s.id = outbox.id);
    END IF;
END
$$;

-- For each of these events that is known: its index (from 1), and whether its content is the same, as
-- event_content_is_same defines it. The document of each (source, id) is read once, however often it occurs. Two
-- commands: an event that has left the outbox when it is queried is in the store by then.
CREATE FUNCTION events_are_same(ids text[], sources text[], times_given boolean[], events json[])
RETURNS TABLE (index bigint, same boolean) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    WITH known AS MATERIALIZED (
        SELECT named.source, named.id, o.event::jsonb - 'time' AS content, o.event::jsonb -> 'time' AS event_time
        FROM (SELECT DISTINCT u.source, u.id FROM unnest(sources, ids) AS u (source, id)) AS named
        JOIN outbox AS o ON o.source = named.source AND o.id = named.id
    )
    SELECT g.ord, g.event::jsonb - 'time' = known.content
                  AND (NOT g.time_given OR g.event::jsonb -> 'time' IS NOT DISTINCT FROM known.event_time)
    FROM unnest(ids, sources, events, times_given) WITH ORDINALITY AS g (id, source, event, time_given, ord)
    JOIN known ON known.source = g.source AND known.id = g.id;

    RETURN QUERY
    WITH known AS MATERIALIZED (
        SELECT named.source, named.id, s.event - 'time' AS content, s.event -> 'time' AS event_time
        FROM (SELECT DISTINCT u.source, u.id FROM unnest(sources, ids) AS u (source, id)) AS named
        CROSS JOIN LATERAL (
            SELECT e.event FROM event_store AS e WHERE e.source = named.source AND e.id = named.id LIMIT 1
        ) AS s
    )
    SELECT g.ord, g.event::jsonb - 'time' = known.content
                  AND (NOT g.time_given OR g.event::jsonb -> 'time' IS NOT DISTINCT FROM known.event_time)
    FROM unnest(ids, sources, events, times_given) WITH ORDINALITY AS g (id, source, event, time_given, ord)
    JOIN known ON known.source = g.source AND known.id = g.id;
END
$$;
