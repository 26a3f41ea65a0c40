-- Routing policies: artefacts that never change once kept. At most one is promoted; with none the built-in rules serve.
CREATE TABLE policies (
    version      TEXT PRIMARY KEY,            -- name@number
    name         TEXT NOT NULL,
    number       BIGINT NOT NULL,
    kind         TEXT NOT NULL,
    artefact     TEXT NOT NULL,               -- JSON
    note         TEXT NOT NULL,
    created_at   DOUBLE PRECISION NOT NULL,   -- seconds since the epoch, UTC
    UNIQUE (name, number)
);

-- What was promoted when; '' is the built-in rules. The newest that was not rolled back serves.
CREATE TABLE promotions (
    number       BIGINT PRIMARY KEY,
    version      TEXT NOT NULL,
    promoted_at  DOUBLE PRECISION NOT NULL,
    rolled_back  BIGINT NOT NULL DEFAULT 0
);
