-- A time with an offset, or written in another form of RFC 3339, as the text of its instant in UTC: sorted by code points
-- it is sorted by time. NULL for any other text. As headrace.events.rfc3339.instant(to_utc(…)).
--
-- IMMUTABLE, because indexes on fields use it: it depends on no setting, since the texts that it casts and makes are
-- ISO 8601 throughout. It must never raise, because a state may hold any text. Shapes are compared, because a regular
-- expression takes several times as long.
CREATE FUNCTION instant_of(written text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    shape text COLLATE "C" := translate(upper(written COLLATE "C"), '123456789', '000000000');
    clock text COLLATE "C" := left(written, 19);
    in_utc boolean := right(shape, 1) = 'Z';
    zone text COLLATE "C" := CASE WHEN in_utc THEN '' ELSE right(written, 6) END;
    fraction text COLLATE "C" := substr(written, 20, greatest(length(written) - CASE WHEN in_utc THEN 20 ELSE 25 END, 0));
    moment timestamp;
BEGIN
    IF left(shape, 19) <> '0000-00-00T00:00:00'
       OR NOT in_utc AND (right(shape, 6) NOT IN ('+00:00', '-00:00') OR length(written) < 25)
       OR fraction <> '' AND (left(fraction, 1) <> '.' OR fraction = '.' OR ltrim(substr(fraction, 2), '0123456789') <> '')
       OR left(clock, 4) = '0000'
       OR substr(clock, 6, 2) NOT BETWEEN '01' AND '12'
       OR substr(clock, 9, 2) NOT BETWEEN '01' AND '31'
       OR substr(clock, 12, 2) > '23'
       OR substr(clock, 15, 2) > '59'
       OR substr(clock, 18, 2) > '60'
       OR substr(zone, 2, 2) > '23'
       OR substr(zone, 5, 2) > '59'
    THEN
        RETURN NULL;
    END IF;
    IF substr(clock, 9, 2) > '28' AND substr(clock, 9, 2)::integer > extract(
        day FROM make_date(left(clock, 4)::integer, substr(clock, 6, 2)::integer, 1) + interval '1 month - 1 day'
    ) THEN
        RETURN NULL;  -- February 30
    END IF;
    moment := overlay(clock PLACING ' ' FROM 11 FOR 1)::timestamp;
    IF NOT in_utc THEN
        moment := moment - zone::interval;
    END IF;
    IF extract(year FROM moment) NOT BETWEEN 1 AND 9999
       -- A leap second has become the second that follows it; it ends a day in UTC.
       OR substr(clock, 18, 2) = '60' AND moment <> date_trunc('day', moment)
    THEN
        RETURN NULL;
    END IF;
    RETURN to_char(moment, 'YYYY-MM-DD"T"HH24:MI:SS') || rtrim(rtrim(fraction, '0'), '.');
END
$$;
COMMENT ON FUNCTION instant_of(text) IS 'The instant of an RFC 3339 time as a text in UTC; NULL for any other text.';
