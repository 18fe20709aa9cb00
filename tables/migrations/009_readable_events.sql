-- The text of a stored event, also of one that earlier versions accepted and that PostgreSQL cannot write.

-- At least the bytes that the long numbers of a document have as text, and about twice as many at most: jsonb holds
-- 1e131071 in a few bytes and writes 131,072. Nothing is written to measure it: writing cannot be cancelled and may take
-- longer than any timeout. A number below 1e256 counts only its decimals.
CREATE FUNCTION long_numbers_bytes(document jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(sum(scale(number) + CASE WHEN size > 0 THEN 256 << size ELSE 0 END), 0)::bigint
    FROM jsonb_path_query(document, 'strict $.** ? (@.type() == "number")') AS found (value)
    CROSS JOIN LATERAL (SELECT value::numeric AS number) AS as_number
    CROSS JOIN LATERAL (SELECT width_bucket(abs(number), ARRAY[
        1e256, 1e512, 1e1024, 1e2048, 1e4096, 1e8192, 1e16384, 1e32768, 1e65536
    ]::numeric[]) AS size) AS in_powers_of_two
$$;

-- Readers of event_store use this instead of event::text. An event with more than some 8 MB of long numbers comes without
-- its data and after a blank, which the text of jsonb never begins with. Small events are not measured. STABLE, as
-- pg_column_size is: the planner then inlines it, which it must, because it would else compute both branches for an event.
CREATE FUNCTION event_as_text(event jsonb) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN pg_column_size(event) < 400 OR long_numbers_bytes(event) <= 16000000 THEN event::text
        ELSE ' ' || (event - 'data')::text
    END
$$;
