-- Settings that an admin changed while gateways run; each takes the place of what its settings file says.
CREATE TABLE runtime_settings (
    name        TEXT PRIMARY KEY,            -- dotted, as routing.priority
    value       TEXT NOT NULL,               -- JSON
    changed_at  DOUBLE PRECISION NOT NULL,   -- seconds since the epoch, UTC
    changed_by  TEXT                         -- a key's or user's id; NULL: the local user of an open port
);
