-- Answers that callers of the Responses API may come back to. Nothing of a private request ever stands here.
CREATE TABLE responses (
    id           TEXT PRIMARY KEY,
    owner        TEXT NOT NULL,               -- id of the key that asked; '' is the local user
    previous_id  TEXT,                        -- the response that this one continues
    root_id      TEXT NOT NULL,               -- the first of the conversation
    created_at   DOUBLE PRECISION NOT NULL,   -- seconds since the epoch, UTC
    expires_at   DOUBLE PRECISION NOT NULL,   -- moves for the whole conversation when it goes on
    size         BIGINT NOT NULL,             -- bytes of content
    content      BYTEA NOT NULL               -- encrypted under the installation's value "responses"
);
CREATE INDEX responses_by_owner ON responses (owner, created_at);
CREATE INDEX responses_by_root ON responses (root_id);
CREATE INDEX responses_by_end ON responses (expires_at);
