-- Events that the broker refuses: stored and projected, but not on the topic.

CREATE TABLE unpublished (
    position     bigint PRIMARY KEY,
    partition    integer NOT NULL,
    error        text NOT NULL,
    size_bytes   bigint NOT NULL,
    attempts     integer NOT NULL DEFAULT 1,
    set_aside_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz
);
COMMENT ON TABLE unpublished IS 'Events that the broker refused, which projections read from the event store.';
COMMENT ON COLUMN unpublished.size_bytes IS 'The size of the record, with its key and headers.';
COMMENT ON COLUMN unpublished.attempts IS 'How often the broker refused it.';
COMMENT ON COLUMN unpublished.published_at IS 'When a later attempt succeeded, out of order; null while the topic lacks the event.';
CREATE INDEX unpublished_now ON unpublished (position) WHERE published_at IS NULL;
