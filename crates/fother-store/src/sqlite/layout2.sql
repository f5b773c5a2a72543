-- Layout 2: whether this store has moved elsewhere. A program that knows layout 1 only refuses the file, and so cannot start a store that has moved.
CREATE TABLE moved (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    to_store TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
