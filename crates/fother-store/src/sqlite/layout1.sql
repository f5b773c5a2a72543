-- Layout 1. Events and nodes are only ever added: the triggers refuse everything else.
CREATE TABLE event (
    seq   INTEGER PRIMARY KEY CHECK (seq >= 0),
    bytes BLOB NOT NULL
) STRICT;
-- node(0, seq) is the event's leaf hash; node(level, idx) the hash over 2^level leaves from idx * 2^level on.
CREATE TABLE node (
    level INTEGER NOT NULL CHECK (level BETWEEN 0 AND 63),
    idx   INTEGER NOT NULL CHECK (idx >= 0),
    hash  BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER event_kept_1 BEFORE UPDATE ON event BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
CREATE TRIGGER event_kept_2 BEFORE DELETE ON event BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
CREATE TRIGGER event_next BEFORE INSERT ON event
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq) + 1, 0) FROM event)
BEGIN SELECT raise(ABORT, 'the log grows at its end only'); END;
CREATE TRIGGER node_kept_1 BEFORE UPDATE ON node BEGIN SELECT raise(ABORT, 'the tree is append-only'); END;
CREATE TRIGGER node_kept_2 BEFORE DELETE ON node BEGIN SELECT raise(ABORT, 'the tree is append-only'); END;
CREATE TRIGGER node_once BEFORE INSERT ON node
WHEN EXISTS (SELECT 1 FROM node WHERE level = NEW.level AND idx = NEW.idx)
BEGIN SELECT raise(ABORT, 'the tree is append-only'); END;
CREATE TABLE checkpoint (
    size INTEGER PRIMARY KEY CHECK (size >= 0),
    note TEXT NOT NULL
) STRICT;
CREATE TABLE lease (
    name   TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    fence  INTEGER NOT NULL CHECK (fence > 0),
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE blob (
    digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
    kind   TEXT NOT NULL,
    bytes  INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE last_seen (
    host TEXT PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE small (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE counter (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL CHECK (value >= 0)
) STRICT, WITHOUT ROWID;
