-- The sink's tables. Everything is created with plain PostgreSQL; where the TimescaleDB extension
-- is in this database, ticks and ohlcv become hypertables at the end.
--
-- Prices and volumes are double precision, the vendor's own type: the topics keep the digits.

-- One observation of a price. (time, id) is the identity: id is the content's hash, and a unique
-- key on a hypertable must contain the time column. Time comes first, so that new rows land on the
-- right edge of the index.
CREATE TABLE ticks (
    time        timestamptz      NOT NULL, -- when it happened, cut to microseconds
    symbol      text             NOT NULL, -- base and quote joined
    price       double precision NOT NULL,
    volume      double precision,          -- NULL where the vendor gave none; only trades add up
    kind        text             NOT NULL, -- trade, ticker, index
    market      text             NOT NULL,
    base        text             NOT NULL,
    quote       text             NOT NULL,
    side        text,                      -- sell, buy, unknown; trades only
    trade_id    text,
    ccseq       bigint,
    id          uuid             NOT NULL, -- XXH3-128, the same 32 digits as on the topic
    received_at timestamptz      NOT NULL,
    PRIMARY KEY (time, id)
);
-- The latest tick of a symbol, and a symbol's ticks in a range.
CREATE INDEX ticks_symbol_time ON ticks (symbol, time DESC);

-- Candles as the vendor last revised them. The interval is text, as on the topic: as a PostgreSQL
-- interval, the vendor's `60m` and `1h` would be one value, and they are two candles.
CREATE TABLE ohlcv (
    bucket       timestamptz      NOT NULL,
    symbol       text             NOT NULL,
    open         double precision NOT NULL,
    high         double precision NOT NULL,
    low          double precision NOT NULL,
    close        double precision NOT NULL,
    volume       double precision,
    interval     text             NOT NULL,
    market       text             NOT NULL,
    base         text             NOT NULL,
    quote        text             NOT NULL,
    quote_volume double precision,
    conversion   text,
    closed       boolean          NOT NULL,
    received_at  timestamptz      NOT NULL,
    revision     uuid             NOT NULL, -- XXH3-128 of the candle's JSON: the last tie-breaker
    created_at   timestamptz      NOT NULL DEFAULT now(),
    updated_at   timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (market, base, quote, interval, bucket)
);
-- Candles of a symbol in a range.
CREATE INDEX ohlcv_symbol_bucket ON ohlcv (symbol, interval, bucket DESC);

-- What did not become a row, with its bytes, so that it can become one later.
CREATE TABLE dead_letters (
    id          uuid PRIMARY KEY,     -- XXH3-128 of key, value, headers and received_at
    stage       text    NOT NULL,     -- transform, sink
    reason      text    NOT NULL,     -- the code; `tickpanda_model::dead_letter::Reason` lists them
    detail      text    NOT NULL,     -- for people
    topic       text    NOT NULL,     -- where the sink read it
    partition   integer NOT NULL,
    "offset"    bigint  NOT NULL,
    key         bytea,
    headers     jsonb   NOT NULL,     -- name to text, or to {"hex": …} where it is no text
    value       bytea,
    received_at timestamptz,          -- NULL where what was given can't be represented
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_letters_received_at ON dead_letters (received_at DESC);

-- Known holes. The id is XXH3-128 of what names the hole, so that its later states update one row.
CREATE TABLE gaps (
    id           uuid PRIMARY KEY,
    kind         text NOT NULL,        -- trade, ticker, index, candle, offsets
    market       text,
    base         text,
    quote        text,
    topic        text,
    partition    integer,
    gap_from     timestamptz NOT NULL,
    gap_to       timestamptz,
    first_offset bigint,
    last_offset  bigint,
    missing      bigint,
    state        text NOT NULL,        -- open, repaired, unrepairable
    reason       text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

-- How far each partition is in the tables, moved only by compare-and-set in the transaction that
-- writes the rows. Records on the topic below next_offset = rows + duplicates + refused.
CREATE TABLE sink_offsets (
    cluster     text    NOT NULL,      -- the cluster's id and the topic's: see `cluster_key`
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL CHECK (next_offset >= 0),
    duplicates  bigint  NOT NULL DEFAULT 0 CHECK (duplicates >= 0),
    refused     bigint  NOT NULL DEFAULT 0 CHECK (refused >= 0),
    PRIMARY KEY (cluster, topic, partition)
);

-- A day of ticks a chunk: at thousands a second its indexes still fit into memory, and retention
-- drops whole days. Candles are a thousand times fewer, and readers ask for years of them.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        PERFORM create_hypertable('ticks', 'time', chunk_time_interval => INTERVAL '1 day',
                                  create_default_indexes => false);
        PERFORM create_hypertable('ohlcv', 'bucket', chunk_time_interval => INTERVAL '90 days',
                                  create_default_indexes => false);
    END IF;
END
$$;
