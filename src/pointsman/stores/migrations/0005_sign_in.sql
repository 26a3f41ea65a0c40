-- People who sign in, their sessions, and the applications that act for them. No password, token or code stands here:
-- passwords as argon2id, everything else as a hash under a key of this installation.
CREATE TABLE users (
    id          TEXT PRIMARY KEY,            -- user_…
    name        TEXT NOT NULL,               -- as it was written
    name_key    TEXT NOT NULL UNIQUE,        -- as it is compared: NFKC, small letters
    role        TEXT NOT NULL,               -- admin, member, viewer
    password    TEXT,                        -- argon2id; NULL until it is set with a one-time code
    disabled    BIGINT NOT NULL DEFAULT 0,
    created_at  DOUBLE PRECISION NOT NULL,
    seen_at     DOUBLE PRECISION             -- the last sign-in
);

-- One row a sign-in or grant: the family that all its refresh tokens belong to.
CREATE TABLE sessions (
    id          TEXT PRIMARY KEY,            -- the `sid` of access tokens
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id   TEXT,                        -- NULL: the gateway's own pages
    scope       TEXT NOT NULL,               -- '' : everything the role allows
    agent       TEXT NOT NULL,               -- what the browser calls itself
    peer        TEXT NOT NULL,               -- keyed hash of the address it began at
    created_at  DOUBLE PRECISION NOT NULL,
    used_at     DOUBLE PRECISION NOT NULL,
    expires_at  DOUBLE PRECISION NOT NULL,
    ended_at    DOUBLE PRECISION,
    reason      TEXT                         -- why it ended: signed_out, revoked, reuse, password, disabled
);

CREATE INDEX sessions_by_user ON sessions (user_id, created_at);
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE refresh_tokens (
    digest      TEXT PRIMARY KEY,
    session_id  TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at  DOUBLE PRECISION NOT NULL,
    used_at     DOUBLE PRECISION             -- set once: a second use ends the session
);

CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

CREATE TABLE oauth_clients (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL,
    redirect_uris  TEXT NOT NULL,            -- JSON array
    scopes         TEXT NOT NULL,            -- JSON array: what it may ask for
    secret         TEXT,                     -- keyed hash; NULL: a public client
    first_party    BIGINT NOT NULL DEFAULT 0, -- 1: no consent is asked for
    created_at     DOUBLE PRECISION NOT NULL
);

CREATE TABLE authorization_codes (
    digest          TEXT PRIMARY KEY,
    client_id       TEXT NOT NULL REFERENCES oauth_clients (id) ON DELETE CASCADE,
    user_id         TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    redirect_uri    TEXT NOT NULL,
    scope           TEXT NOT NULL,
    code_challenge  TEXT,                    -- S256
    agent           TEXT NOT NULL,
    peer            TEXT NOT NULL,
    expires_at      DOUBLE PRECISION NOT NULL,
    session_id      TEXT                     -- the session that it was exchanged for: a second use ends that
);

-- Codes that set a first or a new password, or admit the first admin.
CREATE TABLE one_time_codes (
    digest      TEXT PRIMARY KEY,
    purpose     TEXT NOT NULL,               -- password, setup
    user_id     TEXT REFERENCES users (id) ON DELETE CASCADE,
    expires_at  DOUBLE PRECISION NOT NULL
);

-- Failed sign-ins by account and by address; both as keyed hashes, so that names that do not exist count alike.
CREATE TABLE sign_in_failures (
    subject     TEXT PRIMARY KEY,
    failures    BIGINT NOT NULL,
    last_at     DOUBLE PRECISION NOT NULL,
    open_at     DOUBLE PRECISION NOT NULL    -- no attempt before this time
);
