-- Version 1 of the tables. Run by the role that owns them; the program's role gets SELECT and INSERT and the four
-- functions at the end, and can neither change nor delete a row of any table.
CREATE SCHEMA hwledger;
SET LOCAL search_path = hwledger;

CREATE TABLE migrations (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE meta (name text PRIMARY KEY, value text NOT NULL);

-- Names of streams are compared byte by byte: an index over a locale's order breaks when the locale is updated.
CREATE TABLE entries (
    position bigint PRIMARY KEY CHECK (position >= 0),
    bytes bytea CHECK (octet_length(bytes) BETWEEN 1 AND 49152),
    kind text NOT NULL,
    subject text COLLATE "C" NOT NULL,
    version bigint NOT NULL CHECK (version >= 0),
    UNIQUE (subject, version)
);
CREATE TABLE once (
    key bytea PRIMARY KEY CHECK (octet_length(key) = 32),
    content bytea NOT NULL CHECK (octet_length(content) = 32),
    leaf bytea NOT NULL CHECK (octet_length(leaf) = 32),
    position bigint NOT NULL UNIQUE
);
CREATE TABLE tiles (
    level integer NOT NULL, position bigint NOT NULL, hashes bytea NOT NULL, PRIMARY KEY (level, position)
);
-- Hashes do not get shorter.
ALTER TABLE tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;
CREATE TABLE checkpoints (size bigint PRIMARY KEY, note text NOT NULL);

-- What was accepted and has no place yet. `arrival` says roughly who came first, and nothing else relies on it: numbers
-- of a sequence appear in another order than they were given out, and some never do.
CREATE TABLE inbox (
    arrival bigint GENERATED ALWAYS AS IDENTITY,
    key bytea PRIMARY KEY CHECK (octet_length(key) = 32),
    content bytea NOT NULL CHECK (octet_length(content) = 32),
    bytes bytea NOT NULL CHECK (octet_length(bytes) BETWEEN 1 AND 49152),
    kind text NOT NULL CHECK (octet_length(kind) BETWEEN 1 AND 512),
    subject text COLLATE "C" NOT NULL CHECK (octet_length(subject) BETWEEN 1 AND 512),
    expected bigint CHECK (expected >= 0)
);
CREATE INDEX inbox_by_arrival ON inbox (arrival);
-- Rows come and go at the rate of appending: dead ones are cleared after so many, not after a share of the table.
ALTER TABLE inbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000);

-- Events whose stream had another version than they expected, by the hash of their leaf.
CREATE TABLE refused (
    leaf bytea PRIMARY KEY CHECK (octet_length(leaf) = 32),
    expected bigint NOT NULL,
    found bigint NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX refused_by_time ON refused (refused_at);

-- One row: who gives out places. Whoever takes over raises the epoch, which fences off all before.
CREATE TABLE sequencer (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    epoch bigint NOT NULL,
    holder text NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO sequencer (epoch, holder) VALUES (0, 'nobody');

-- Guards against slips, not against whoever owns the tables; what detects a change is the tree.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME;
END $$;
CREATE TRIGGER once_stays BEFORE UPDATE OR DELETE ON once FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER once_is_not_emptied BEFORE TRUNCATE ON once EXECUTE FUNCTION refuse_change();
CREATE TRIGGER checkpoints_stay BEFORE UPDATE OR DELETE ON checkpoints FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER checkpoints_are_not_emptied BEFORE TRUNCATE ON checkpoints EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entries_stay BEFORE DELETE ON entries FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER entries_are_not_emptied BEFORE TRUNCATE ON entries EXECUTE FUNCTION refuse_change();
-- Retention drops an entry's data and nothing else.
CREATE TRIGGER entries_do_not_change BEFORE UPDATE ON entries FOR EACH ROW
    WHEN (NEW.bytes IS NOT NULL OR NEW.position <> OLD.position OR NEW.kind <> OLD.kind OR NEW.subject <> OLD.subject
        OR NEW.version <> OLD.version)
    EXECUTE FUNCTION refuse_change();

-- Raises the epoch for a session that holds the sequencer's lock (1752656999 is `hwlg`).
CREATE FUNCTION take_sequencer(new_holder text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hwledger, pg_temp AS $$
DECLARE
    taken bigint;
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() AND classid = 1752656999 AND objid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) THEN
        RAISE EXCEPTION 'this session does not hold the lock of the sequencer';
    END IF;
    UPDATE sequencer SET epoch = epoch + 1, holder = new_holder, taken_at = clock_timestamp() RETURNING epoch INTO taken;
    RETURN taken;
END $$;

-- Whether this epoch is the current one; then it stays so until the transaction ends.
CREATE FUNCTION hold_sequencer(mine bigint) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = hwledger, pg_temp AS $$
    SELECT epoch = mine FROM sequencer FOR SHARE
$$;

-- Keeps a tile of the tree, which only ever grows at its end.
CREATE FUNCTION keep_tile(new_level integer, new_position bigint, new_hashes bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = hwledger, pg_temp AS $$
BEGIN
    IF octet_length(new_hashes) NOT BETWEEN 32 AND 8192 OR octet_length(new_hashes) % 32 <> 0 THEN
        RAISE EXCEPTION 'a tile has 1 to 256 hashes';
    END IF;
    INSERT INTO tiles AS kept (level, position, hashes) VALUES (new_level, new_position, new_hashes)
    ON CONFLICT (level, position) DO UPDATE SET hashes = excluded.hashes
    WHERE substring(excluded.hashes FROM 1 FOR octet_length(kept.hashes)) = kept.hashes;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a tile only grows';
    END IF;
END $$;

-- Clears the inbox of events that were given a place or were refused, and of none else.
CREATE FUNCTION settle(keys bytea[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = hwledger, pg_temp AS $$
    DELETE FROM inbox WHERE key = ANY (keys) AND (
        EXISTS (SELECT FROM once WHERE once.key = inbox.key)
        OR EXISTS (SELECT FROM refused WHERE refused.leaf = sha256('\x00'::bytea || inbox.bytes))
    );
    DELETE FROM refused WHERE refused_at < now() - interval '7 days';
$$;

-- Lets a role read and append.
CREATE FUNCTION admit(program_role name) RETURNS void
LANGUAGE plpgsql SET search_path = hwledger, pg_temp AS $$
BEGIN
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA hwledger FROM %I', program_role);
    EXECUTE format('GRANT USAGE ON SCHEMA hwledger TO %I', program_role);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA hwledger TO %I', program_role);
    EXECUTE format('GRANT INSERT ON meta, entries, once, checkpoints, inbox, refused TO %I', program_role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION take_sequencer, hold_sequencer, keep_tile, settle TO %I', program_role);
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA hwledger FROM PUBLIC;
