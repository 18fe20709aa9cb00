-- Reads events one by one, so that an event that PostgreSQL cannot write as text does not fail the others.

-- At least the bytes that the long numbers of a document have as text, and at most twice as many: jsonb holds 1e131071 in
-- a few bytes and writes 131,072. Nothing is written to measure it. Numbers below 1e256 count only their decimals.
CREATE FUNCTION long_numbers_bytes(document jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(sum(scale(number) + CASE WHEN size > 0 THEN 256 << size ELSE 0 END), 0)::bigint
    FROM jsonb_path_query(document, 'strict $.** ? (@.type() == "number")') AS found (value)
    CROSS JOIN LATERAL (SELECT value::numeric AS number) AS as_number
    CROSS JOIN LATERAL (SELECT width_bucket(abs(number), ARRAY[
        1e256, 1e512, 1e1024, 1e2048, 1e4096, 1e8192, 1e16384, 1e32768, 1e65536
    ]::numeric[]) AS size) AS in_powers_of_two
$$;

-- For the positions, in order, until max_bytes of text are reached. An event with more than 16 MB of long numbers is
-- returned without its data and after a blank, which no jsonb begins with.
CREATE FUNCTION readable_events(positions bigint[], max_bytes bigint)
RETURNS TABLE (event_position bigint, event_text text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    bytes bigint := 0;
BEGIN
    FOREACH event_position IN ARRAY positions LOOP
        SELECT CASE
            WHEN long_numbers_bytes(event) > 32000000 THEN ' ' || (event - 'data')::text
            ELSE event::text
        END
        INTO event_text FROM event_store WHERE position = event_position;
        RETURN NEXT;
        bytes := bytes + coalesce(octet_length(event_text), 0);
        EXIT WHEN bytes > max_bytes;
    END LOOP;
END
$$;
