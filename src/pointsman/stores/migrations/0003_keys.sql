-- API keys. A token is never kept: its prefix finds it and a keyed hash proves it.
CREATE TABLE api_keys (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    role          TEXT NOT NULL,              -- admin, member or viewer
    scopes        TEXT NOT NULL,              -- JSON
    created_at    DOUBLE PRECISION NOT NULL,  -- seconds since the epoch, UTC
    created_by    TEXT NOT NULL,
    expires_at    DOUBLE PRECISION,
    revoked_at    DOUBLE PRECISION,
    revoked_by    TEXT,
    last_used_at  DOUBLE PRECISION,
    revision      BIGINT NOT NULL DEFAULT 0   -- moves with every change, so that none overwrites another
);

-- A revoked key gives its name free.
CREATE UNIQUE INDEX api_keys_name ON api_keys (name) WHERE revoked_at IS NULL;

-- A key has one token, and after a rotation the one before it for a while. Revocation deletes them.
CREATE TABLE api_key_secrets (
    prefix        TEXT PRIMARY KEY,
    key_id        TEXT NOT NULL REFERENCES api_keys (id),
    digest        BYTEA NOT NULL,             -- HMAC-SHA256
    created_at    DOUBLE PRECISION NOT NULL,
    created_by    TEXT NOT NULL,
    expires_at    DOUBLE PRECISION            -- NULL: as long as its key
);

CREATE INDEX api_key_secrets_key ON api_key_secrets (key_id);
