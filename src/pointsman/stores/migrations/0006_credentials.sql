-- Secrets that must be readable again: each is encrypted under a key of its own, which the installation's secret wraps
-- (stores/envelope.py). `kind` says what for: credential (an upstream's key, by provider), signing (a key's signing
-- secret, by key id), installation (values made once, such as the pepper of API key hashes).
CREATE TABLE sealed (
    kind        TEXT NOT NULL,
    name        TEXT NOT NULL,
    version     BIGINT NOT NULL,              -- counts the changes; the encryption is bound to kind, name and version
    envelope    BYTEA NOT NULL,
    changed_at  DOUBLE PRECISION NOT NULL,    -- seconds since the epoch, UTC
    PRIMARY KEY (kind, name)
);
