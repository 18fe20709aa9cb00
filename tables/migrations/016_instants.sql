-- A time with an offset, or written in another form of RFC 3339, as the text of its instant in UTC: sorted by code points
-- it is sorted by time. NULL for any other text. As headrace.events.rfc3339.instant(to_utc(…)).
--
-- IMMUTABLE, because indexes on fields use it: it depends on no setting, and to_char has no name of a month here. It must
-- never raise, because a state may hold any text.
CREATE FUNCTION instant_of(written text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    part text[] := regexp_match(
        written COLLATE "C",
        '^([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)'
        '(\.[0-9]+)?(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))$'
    );
    moment timestamp;
BEGIN
    IF part IS NULL OR part[1] = '0000' THEN
        RETURN NULL;
    END IF;
    moment := make_timestamp(part[1]::integer, part[2]::integer, 1, part[4]::integer, part[5]::integer, 0)
        + make_interval(days => part[3]::integer - 1);
    IF extract(month FROM moment) <> part[2]::integer THEN
        RETURN NULL;  -- February 30
    END IF;
    IF part[8] IS NOT NULL THEN
        moment := moment - make_interval(hours => (part[8] || part[9])::integer, mins => (part[8] || part[10])::integer);
    END IF;
    IF part[6] = '60' AND (extract(hour FROM moment), extract(minute FROM moment)) <> (23, 59) THEN
        RETURN NULL;  -- a leap second ends a day in UTC
    END IF;
    moment := moment + make_interval(secs => part[6]::integer);
    IF extract(year FROM moment) NOT BETWEEN 1 AND 9999 THEN
        RETURN NULL;
    END IF;
    RETURN to_char(moment, 'YYYY-MM-DD"T"HH24:MI:SS') || rtrim(rtrim(coalesce(part[7], ''), '0'), '.');
END
$$;
COMMENT ON FUNCTION instant_of(text) IS 'The instant of an RFC 3339 time as a text in UTC; NULL for any other text.';
