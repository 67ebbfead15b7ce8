-- What readers ask for: the latest tick of every pair, and candles made from trades.
--
-- Everything here runs in one transaction, so a sink that is killed in the middle leaves nothing.

-- A reader of hours (a dump) must not make all sinks and all other readers wait behind this: it gives
-- up and is tried again.
SET LOCAL lock_timeout = '5s';
-- Nothing is written between the reading of ticks and the triggers below.
LOCK TABLE ticks IN SHARE ROW EXCLUSIVE MODE;

-- Whoever has relations of these names keeps them: here nothing is replaced.
DO $$
DECLARE
    taken text;
BEGIN
    IF current_setting('server_version_num')::integer < 140000 THEN
        RAISE EXCEPTION 'PostgreSQL 14 or newer is needed, this is %', current_setting('server_version')
            USING ERRCODE = '0A000';
    END IF;
    SELECT string_agg(relname, ', ' ORDER BY relname) INTO taken FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace
      AND relname IN ('newest_ticks', 'newest_ticks_state', 'latest_ticks',
                      'candles_1m', 'candles_5m', 'candles_15m', 'candles_1h', 'candles_1d');
    IF taken IS NOT NULL THEN
        RAISE EXCEPTION 'these names are needed for views of the sink: %; rename yours', taken
            USING ERRCODE = '42P07';
    END IF;
END
$$;

-- ── latest_ticks ────────────────────────────────────────────────────────────────────────────────

-- The newest tick of each kind, market and pair, kept by the sink in the transaction that writes the
-- tick. Found in `ticks` itself it would cost a descent per pair and chunk (0.6 s for 470 pairs in
-- 100 chunks, 8 s by DISTINCT ON, of 4 million ticks), and an index made for it would slow down writing:
-- ticks_symbol_time alone takes COPY of 200,000 rows from 0.43 s to 0.73 s.
-- The order is (time, id), so that it does not depend on the order of arrival.
CREATE TABLE newest_ticks (
    LIKE ticks,
    PRIMARY KEY (symbol, kind, market, base, quote)
) WITH (fillfactor = 50); -- updated all the time: room for the new version beside the old one

-- Whether newest_ticks holds what ticks holds. The sink keeps it so; whatever else writes to ticks
-- makes it FALSE, and until tickpanda_rebuild_latest() latest_ticks then reads all of ticks instead:
-- slower, never wrong.
CREATE TABLE newest_ticks_state (complete boolean NOT NULL);
INSERT INTO newest_ticks_state VALUES (TRUE);

-- The same found in ticks itself. A function, because a query would be planned, and all chunks locked
-- for it (0.4 s with 1,400 of them), also where it is not run. With its owner's rights, as a view has them.
CREATE FUNCTION tickpanda_latest_of_all() RETURNS SETOF ticks
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    -- The pairs and their last times by one parallel scan, the rows by index: 14 times as fast as
    -- DISTINCT ON, which sorts everything.
    RETURN QUERY
    SELECT newest.*
    FROM (SELECT symbol, kind, market, base, quote, max(time) AS time FROM ticks
          GROUP BY symbol, kind, market, base, quote) AS pair
    CROSS JOIN LATERAL (
        SELECT * FROM ticks
        WHERE (ticks.symbol, ticks.kind, ticks.market, ticks.base, ticks.quote, ticks.time)
            = (pair.symbol, pair.kind, pair.market, pair.base, pair.quote, pair.time)
        ORDER BY id DESC LIMIT 1) AS newest;
END
$$;
INSERT INTO newest_ticks SELECT * FROM tickpanda_latest_of_all();

CREATE FUNCTION tickpanda_foreign_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE newest_ticks_state SET complete = FALSE WHERE complete;
    RETURN NULL;
END
$$;
-- For each statement and without its rows: it costs the sink nothing. A sink from before this
-- migration has another name, and counts as something else.
CREATE TRIGGER foreign_write AFTER INSERT OR UPDATE OR DELETE ON ticks FOR EACH STATEMENT
WHEN (current_setting('application_name') <> 'tickpanda-sink writer')
EXECUTE FUNCTION tickpanda_foreign_write();
CREATE TRIGGER foreign_truncate AFTER TRUNCATE ON ticks FOR EACH STATEMENT
EXECUTE FUNCTION tickpanda_foreign_write();

-- Makes latest_ticks fast again after something other than the sink wrote to ticks. Writers wait
-- while it reads all of ticks once.
CREATE FUNCTION tickpanda_rebuild_latest() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    LOCK TABLE ticks, newest_ticks, newest_ticks_state IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM newest_ticks;
    INSERT INTO newest_ticks SELECT * FROM tickpanda_latest_of_all();
    UPDATE newest_ticks_state SET complete = TRUE;
END
$$;

CREATE VIEW latest_ticks AS
SELECT * FROM newest_ticks WHERE (SELECT complete FROM newest_ticks_state)
UNION ALL
SELECT * FROM tickpanda_latest_of_all() WHERE NOT (SELECT complete FROM newest_ticks_state);

-- ── candles_1m, _5m, _15m, _1h, _1d ─────────────────────────────────────────────────────────────

-- The candles: how long each is, which are summed up to it, and how often.
CREATE FUNCTION tickpanda_candles()
RETURNS TABLE (place integer, name text, source text, width interval, schedule interval)
LANGUAGE sql IMMUTABLE AS $$
    VALUES
        (1, 'candles_1m',  NULL,          INTERVAL '1 minute',   INTERVAL '1 minute'),
        (2, 'candles_5m',  'candles_1m',  INTERVAL '5 minutes',  INTERVAL '2 minutes'),
        (3, 'candles_15m', 'candles_5m',  INTERVAL '15 minutes', INTERVAL '5 minutes'),
        (4, 'candles_1h',  'candles_15m', INTERVAL '1 hour',     INTERVAL '15 minutes'),
        (5, 'candles_1d',  'candles_1h',  INTERVAL '1 day',      INTERVAL '1 hour')
$$;

-- Has a candle refreshed from `start` ago (NULL: from the first tick) to its newest whole bucket.
--
-- TimescaleDB does it in steps of one transaction each, and by default (from 2.22 on) in a way that
-- does not suit these candles. So it is said here, where the version (2.20) has the options:
--
-- * 1,440 buckets a step, not 1 or 10. Each run lists all steps between the first tick and now, also
--   where nothing is to be done: after two years that costs 2 s of CPU with 1, 0.2 s with 10 and 3 ms
--   with 1,440, every minute. What one transaction writes is bounded still, and as each step begins
--   with a day, it never splits a candle of the next size.
-- * The oldest first. A query takes from the aggregate whatever is older than its newest bucket: with
--   the newest first, older candles would be missing until the first run is through.
CREATE FUNCTION tickpanda_refresh(candle text, width interval, schedule interval, start interval)
RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    -- As text, because earlier versions do not have the last three.
    EXECUTE 'SELECT add_continuous_aggregate_policy($1::regclass, start_offset => $2,
                 end_offset => $3, schedule_interval => $4'
        || CASE WHEN EXISTS (SELECT FROM pg_proc WHERE proname = 'add_continuous_aggregate_policy'
                             AND proargnames @> ARRAY['buckets_per_batch', 'refresh_newest_first'])
           THEN ', buckets_per_batch => 1440, max_batches_per_execution => 0,
                  refresh_newest_first => FALSE' ELSE '' END || ')'
    USING candle, start, width, schedule;
END
$$;

-- Candles from ticks of kind trade. Buckets are of UTC. Trades of the same microsecond are in the
-- order of their trade ids (as numbers, where they are numbers), then of their content's hash: open
-- and close do not depend on the order of arrival. volume is NULL where no trade had one.
--
-- Where TimescaleDB's licence allows it they are continuous aggregates, each made from the one before:
-- what is materialized, and what is newer made when asked for. Otherwise they are views with the same
-- columns, made when asked for.
--
-- * Refresh looks at all times (start_offset NULL) but works only where ticks have come since, so a
--   tick of years ago reaches its candles by the next runs. The newest bucket is left to the query.
--   See tickpanda_refresh() for how much of it one transaction does.
-- * Compression of ticks after 7 days: late ticks come within days (a vendor's replay, a broker
--   that was away), and those that come later are written all the same. By symbol, because every
--   question names it, and not by market and kind, because a quiet market's rows would fill no batch
--   of a thousand; in the order of time and id, because that is how a duplicate is looked for.
--   Candles of a minute and five minutes, which are the many, after 30 days. The vendor's candles
--   (ohlcv) are never compressed: they are few, and revised.
-- * Nothing is ever dropped, unless tickpanda_keep_ticks() is asked to.
CREATE FUNCTION tickpanda_make_candles() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $make$
DECLARE
    -- What is asked for must be asked late: without the extension these names do not exist.
    community boolean := current_setting('timescaledb.license', true) = 'timescale'
        AND EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb');
    hypertable boolean := FALSE;
    aggregate boolean := FALSE;
    candle record;
    columns text;
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                       WHERE hypertable_schema = current_schema() AND hypertable_name = 'ticks'),
               EXISTS (SELECT FROM timescaledb_information.continuous_aggregates
                       WHERE view_schema = current_schema() AND view_name = 'candles_1m')
        INTO hypertable, aggregate;
    END IF;
    IF aggregate THEN
        RETURN;
    END IF;
    -- Fails where views of the user's are made from them, and says which.
    FOR candle IN SELECT * FROM tickpanda_candles() LOOP
        IF to_regclass(candle.name) IS NOT NULL THEN
            EXECUTE format('DROP VIEW %I', candle.name);
        END IF;
    END LOOP;
    FOR candle IN SELECT * FROM tickpanda_candles() ORDER BY place LOOP
        IF community AND hypertable AND candle.source IS NOT NULL THEN
            EXECUTE format(
                'CREATE MATERIALIZED VIEW %I
                 WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
                 SELECT time_bucket(%L::interval, bucket) AS bucket, symbol, market, base, quote,
                        first(open, bucket) AS open, max(high) AS high, min(low) AS low,
                        last(close, bucket) AS close, sum(volume) AS volume,
                        sum(quote_volume) AS quote_volume, sum(trades)::bigint AS trades
                 FROM %I GROUP BY 1, symbol, market, base, quote
                 WITH NO DATA', candle.name, candle.width, candle.source);
        ELSE
            columns := 'symbol, market, base, quote,
                (array_agg(price ORDER BY time, length(trade_id), trade_id COLLATE "C", id))[1] AS open,
                max(price) AS high,
                min(price) AS low,
                (array_agg(price ORDER BY time DESC, length(trade_id) DESC, trade_id COLLATE "C" DESC,
                                          id DESC))[1] AS close,
                sum(volume) AS volume, -- of the base
                sum(price * volume) AS quote_volume,
                count(*) AS trades';
            IF community AND hypertable THEN
                EXECUTE format(
                    'CREATE MATERIALIZED VIEW %I
                     WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
                     SELECT time_bucket(%L::interval, time) AS bucket, %s
                     FROM ticks WHERE kind = ''trade'' GROUP BY 1, symbol, market, base, quote
                     WITH NO DATA', candle.name, candle.width, columns);
            ELSE
                -- TimescaleDB knows from time_bucket, not from date_bin, which chunks a question
                -- about buckets is about (5 ms instead of 590 for a day of a symbol among a hundred).
                EXECUTE format(
                    'CREATE VIEW %I AS
                     SELECT ' || CASE WHEN hypertable THEN 'time_bucket(%L::interval, time)'
                         ELSE 'date_bin(%L::interval, time, ''2000-01-01 00:00+00'')' END ||
                    ' AS bucket, %s
                     FROM ticks WHERE kind = ''trade'' GROUP BY 1, symbol, market, base, quote',
                    candle.name, candle.width, columns);
            END IF;
        END IF;
        IF community AND hypertable THEN
            PERFORM tickpanda_refresh(candle.name, candle.width, candle.schedule, NULL);
            IF candle.name IN ('candles_1m', 'candles_5m') THEN
                EXECUTE format(
                    'ALTER MATERIALIZED VIEW %I SET (timescaledb.compress,
                         timescaledb.compress_segmentby = ''symbol, market, base, quote'')',
                    candle.name);
                PERFORM add_compression_policy(candle.name::regclass, INTERVAL '30 days');
            END IF;
        END IF;
    END LOOP;
    IF community AND hypertable THEN
        ALTER TABLE ticks SET (timescaledb.compress, timescaledb.compress_segmentby = 'symbol',
                               timescaledb.compress_orderby = 'time DESC, id');
        PERFORM add_compression_policy('ticks', INTERVAL '7 days', if_not_exists => TRUE);
    END IF;
END
$make$;
DO $$ BEGIN PERFORM tickpanda_make_candles(); END $$;

-- For a database that got TimescaleDB, or its community edition, after the sink's first start: turns
-- tables that are none yet into hypertables and views into continuous aggregates. Readers and
-- writers wait meanwhile. Does nothing where there is nothing to do.
CREATE FUNCTION tickpanda_use_timescaledb() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        RAISE EXCEPTION 'the extension timescaledb is not in this database'
            USING HINT = 'CREATE EXTENSION timescaledb; and call this again.';
    END IF;
    PERFORM create_hypertable('ticks', 'time', chunk_time_interval => INTERVAL '1 day',
        create_default_indexes => FALSE, migrate_data => TRUE, if_not_exists => TRUE);
    PERFORM create_hypertable('ohlcv', 'bucket', chunk_time_interval => INTERVAL '90 days',
        create_default_indexes => FALSE, migrate_data => TRUE, if_not_exists => TRUE);
    PERFORM tickpanda_make_candles();
END
$$;

-- Drops ticks older than that, from then on every day; NULL keeps all that are left. Their candles
-- stay, and are refreshed only where the ticks still are: that is why a retention policy of one's own
-- is not enough. At least 8 days, so that nothing is dropped before it is compressed and summed up.
--
-- What is dropped counts as changed, and a refresh of it would take the candles too. So the refresh
-- never reaches back further than the shortest time that was ever asked for here, also after NULL:
-- a tick that comes later than that is written but not in its candles.
CREATE FUNCTION tickpanda_keep_ticks(keep interval) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    candle record;
    start interval;
    days text;
    made boolean;
BEGIN
    IF current_setting('timescaledb.license', true) IS DISTINCT FROM 'timescale' THEN
        RAISE EXCEPTION 'policies need the community edition of TimescaleDB'
            USING HINT = 'Call drop_chunks(''ticks'', …) from cron instead. The candles of what is '
                         'dropped go too, because here they are views.';
    ELSIF keep < INTERVAL '8 days' THEN
        RAISE EXCEPTION 'ticks are kept for 8 days at least';
    END IF;
    -- A chunk is dropped when all of it is older: two days are the chunk's own and the job's. LEAST
    -- passes over NULL.
    SELECT LEAST(min((config->>'start_offset')::interval), keep - INTERVAL '2 days') INTO start
    FROM timescaledb_information.jobs
    WHERE proc_name = 'policy_refresh_continuous_aggregate' AND hypertable_schema = current_schema()
      AND hypertable_name IN (SELECT name FROM tickpanda_candles());
    -- Where the first refresh has not come to them yet, candles are made from ticks when asked for.
    -- It goes from the oldest day to the newest, so the last day before `start` tells.
    SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
    INTO STRICT days FROM timescaledb_information.continuous_aggregates
    WHERE view_schema = current_schema() AND view_name = 'candles_1d';
    EXECUTE format(
        'SELECT NOT EXISTS (
             SELECT FROM (SELECT time FROM ticks
                          WHERE kind = ''trade'' AND time < date_bin(''1 day'', now() - $1, ''2000-01-01Z'')
                          ORDER BY time DESC LIMIT 1) AS last
             WHERE NOT EXISTS (SELECT FROM %s WHERE bucket = time_bucket(''1 day'', last.time)))', days)
    INTO made USING start;
    IF keep IS NOT NULL AND NOT made THEN
        RAISE EXCEPTION 'the candles of the ticks to be dropped are not all made yet'
            USING HINT = 'Their jobs make them within hours of the first start: ask again then.';
    END IF;
    PERFORM remove_retention_policy('ticks', if_exists => TRUE);
    FOR candle IN SELECT * FROM tickpanda_candles() LOOP
        PERFORM remove_continuous_aggregate_policy(candle.name::regclass);
        PERFORM tickpanda_refresh(candle.name, candle.width, candle.schedule, start);
    END LOOP;
    IF keep IS NOT NULL THEN
        PERFORM add_retention_policy('ticks', keep);
    END IF;
END
$$;
