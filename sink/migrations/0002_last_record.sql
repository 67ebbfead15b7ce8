-- What the record before next_offset was: read again at the start, it tells whether the topic is still
-- the same where the broker gives a topic no id. NULL where it is not known.
ALTER TABLE sink_offsets
    ADD COLUMN last_record uuid,        -- XXH3-128 of its key and value: see `offsets::fingerprint`
    ADD COLUMN last_time   timestamptz; -- its timestamp
