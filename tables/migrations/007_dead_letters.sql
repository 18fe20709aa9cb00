-- Refused device messages: acknowledged, because they would be redelivered indefinitely, and stored here.

CREATE TABLE dead_letters (
    number           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest           bytea NOT NULL UNIQUE,
    topic            text NOT NULL,
    payload          bytea NOT NULL,
    payload_bytes    integer NOT NULL,
    code             text NOT NULL,
    reason           text NOT NULL,
    problem          text NOT NULL,
    times            integer NOT NULL DEFAULT 1,
    received_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN dead_letters.digest IS 'SHA-256 of topic, code and the whole payload: the same message again is counted here.';
COMMENT ON COLUMN dead_letters.payload IS 'What came, its first 65,536 bytes.';
COMMENT ON COLUMN dead_letters.payload_bytes IS 'How long the payload was.';
COMMENT ON COLUMN dead_letters.code IS 'Why it was refused, for programs; reason is for people.';
COMMENT ON COLUMN dead_letters.problem IS 'What the device was answered, if it asked for an answer: a problem (RFC 9457).';
COMMENT ON COLUMN dead_letters.times IS 'How often the same message came.';
