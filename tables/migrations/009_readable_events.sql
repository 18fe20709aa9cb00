-- Reads events one by one, so that an event that PostgreSQL cannot write as text does not fail the others.

-- For the positions, in order, up to and including the first event whose text cannot be written: its numbers, written
-- without exponents, exceed the longest text. That event is returned without its data and after a blank, which no jsonb
-- begins with. The rest is for the next call, because each attempt at such an event takes a second or more. The same holds
-- for what follows after max_bytes of text.
CREATE FUNCTION readable_events(positions bigint[], max_bytes bigint) RETURNS TABLE (event_position bigint, event_text text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    bytes bigint := 0;
BEGIN
    FOREACH event_position IN ARRAY positions LOOP
        BEGIN
            SELECT event::text INTO event_text FROM event_store WHERE position = event_position;
        EXCEPTION WHEN program_limit_exceeded OR internal_error OR out_of_memory THEN
            SELECT ' ' || (event - 'data')::text INTO event_text FROM event_store WHERE position = event_position;
        END;
        RETURN NEXT;
        bytes := bytes + coalesce(octet_length(event_text), 0);
        EXIT WHEN starts_with(event_text, ' ') OR bytes > max_bytes;
    END LOOP;
END
$$;
