-- Layout 2, as SQLite's of the same number. Events and nodes are only ever added: the triggers refuse everything else.
-- Everything lies in a schema of its own; the connection's search_path names it first.
CREATE TABLE layout (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    program text NOT NULL CHECK (program = 'fother'),
    version integer NOT NULL
);
-- The number of events. Whoever appends locks this row, so that there is one writer at a time.
CREATE TABLE head (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    size bigint NOT NULL CHECK (size >= 0)
);
CREATE TABLE event (
    seq   bigint PRIMARY KEY CHECK (seq >= 0),
    bytes bytea NOT NULL
);
CREATE TABLE node (
    level integer NOT NULL CHECK (level BETWEEN 0 AND 63),
    idx   bigint NOT NULL CHECK (idx >= 0),
    hash  bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, idx)
);
CREATE TABLE checkpoint (size bigint PRIMARY KEY CHECK (size >= 0), note text NOT NULL);
CREATE TABLE lease (
    name   text PRIMARY KEY,
    holder text NOT NULL,
    fence  bigint NOT NULL CHECK (fence > 0),
    until  bigint NOT NULL
);
CREATE TABLE blob (
    digest bytea PRIMARY KEY CHECK (length(digest) = 32),
    kind   text NOT NULL,
    bytes  bigint NOT NULL CHECK (bytes >= 0)
);
CREATE TABLE last_seen (host text COLLATE "C" PRIMARY KEY, at bigint NOT NULL);
CREATE TABLE small (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE counter (key text COLLATE "C" PRIMARY KEY, value bigint NOT NULL CHECK (value >= 0));
CREATE TABLE moved (one boolean PRIMARY KEY DEFAULT true CHECK (one), to_store text NOT NULL, at bigint NOT NULL);

CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$;
CREATE TRIGGER event_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON event FOR EACH STATEMENT EXECUTE FUNCTION kept();
CREATE TRIGGER node_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON node FOR EACH STATEMENT EXECUTE FUNCTION kept();

-- The log grows at its end only, and its length says so.
CREATE FUNCTION grown() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE low bigint; high bigint; many bigint;
BEGIN
    SELECT min(seq), max(seq), count(*) INTO low, high, many FROM added;
    IF many = 0 THEN RETURN NULL; END IF;
    UPDATE head SET size = high + 1 WHERE size = low AND high - low + 1 = many;
    IF NOT FOUND THEN RAISE EXCEPTION 'the log grows at its end only'; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER event_next AFTER INSERT ON event REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION grown();
CREATE FUNCTION head_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND pg_trigger_depth() > 1 THEN RETURN NULL; END IF;
    RAISE EXCEPTION 'the length of the log follows its events';
END $$;
INSERT INTO head (size) VALUES (0);
CREATE TRIGGER head_kept AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON head FOR EACH STATEMENT EXECUTE FUNCTION head_kept();

-- Appends where the log is as long as the caller knows it, and every lease has the caller's fence; one statement, so that no lock
-- is held while the network is asked. Answers with the size before, and with the first lease that has moved on.
CREATE FUNCTION append(
    expected bigint, events bytea[], levels integer[], idxs bigint[], hashes bytea[], leases text[], fences bigint[],
    OUT size_before bigint, OUT moved_lease text, OUT moved_fence bigint
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT head.size INTO size_before FROM head FOR UPDATE;
    -- What is copied into it is the only thing that a store which is not in use may get.
    IF EXISTS (SELECT FROM moved WHERE to_store <> 'unfinished:') THEN RAISE EXCEPTION 'this store has moved'; END IF;
    SELECT want.name, coalesce(lease.fence, 0) INTO moved_lease, moved_fence
        FROM unnest(leases, fences) AS want (name, fence) LEFT JOIN lease ON lease.name = want.name
        WHERE coalesce(lease.fence, 0) <> want.fence LIMIT 1;
    IF moved_lease IS NOT NULL OR size_before <> expected OR cardinality(events) = 0 THEN RETURN; END IF;
    INSERT INTO event (seq, bytes)
        SELECT expected + place - 1, one FROM unnest(events) WITH ORDINALITY AS given (one, place);
    INSERT INTO node (level, idx, hash) SELECT * FROM unnest(levels, idxs, hashes);
END $$;

-- Takes a lease; the head is locked meanwhile, so that no append is between its check and its commit.
CREATE FUNCTION acquire(
    wanted text, who text, now_ms bigint, until_ms bigint, OUT given bigint, OUT held_by text, OUT held_until bigint
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM size FROM head FOR UPDATE;
    SELECT holder, until INTO held_by, held_until FROM lease WHERE name = wanted AND holder <> who AND until > now_ms;
    IF FOUND THEN RETURN; END IF;
    INSERT INTO lease (name, holder, fence, until) VALUES (wanted, who, 1, until_ms)
        ON CONFLICT (name) DO UPDATE SET holder = who, fence = lease.fence + 1, until = until_ms
        RETURNING fence INTO given;
END $$;
INSERT INTO layout (program, version) VALUES ('fother', 2);
