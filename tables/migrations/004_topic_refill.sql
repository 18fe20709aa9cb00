-- The position that the topic must have reached, so that a relay detects at once whether its end was lost.

ALTER TABLE topic_partitions ADD COLUMN previous_position bigint NOT NULL DEFAULT 0;
UPDATE topic_partitions SET previous_position = last_position;
COMMENT ON COLUMN topic_partitions.previous_position IS 'What last_position was before the last round that had events of the partition: that much is published.';
