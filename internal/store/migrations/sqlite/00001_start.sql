-- +goose Up
-- Times are unix milliseconds, 0 for never. Lists and maps are JSON in TEXT. Text that is compared or sorted is in byte
-- order on both dialects.
CREATE TABLE organization (
    id                          TEXT    NOT NULL PRIMARY KEY,
    name                        TEXT    NOT NULL,
    created_by                  TEXT    NOT NULL,
    personal                    BOOLEAN NOT NULL,
    default_region              TEXT    NOT NULL,
    suspended                   BOOLEAN NOT NULL,
    suspension_reason           TEXT    NOT NULL,
    max_cpu_per_sandbox         BIGINT  NOT NULL,
    max_memory_gib_per_sandbox  BIGINT  NOT NULL,
    max_disk_gib_per_sandbox    BIGINT  NOT NULL,
    max_sandboxes               BIGINT  NOT NULL,
    total_cpu                   BIGINT  NOT NULL,
    total_memory_gib            BIGINT  NOT NULL,
    total_disk_gib              BIGINT  NOT NULL,
    created_at                  BIGINT  NOT NULL,
    updated_at                  BIGINT  NOT NULL
);

CREATE TABLE "user" (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    email      TEXT    NOT NULL,
    admin      BOOLEAN NOT NULL,
    created_at BIGINT  NOT NULL
);

CREATE TABLE organization_user (
    organization_id TEXT   NOT NULL REFERENCES organization (id) ON DELETE CASCADE,
    user_id         TEXT   NOT NULL REFERENCES "user" (id) ON DELETE CASCADE,
    role            TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX organization_user_by_user ON organization_user (user_id);

CREATE TABLE api_key (
    organization_id TEXT   NOT NULL,
    user_id         TEXT   NOT NULL,
    name            TEXT   NOT NULL,
    hash            TEXT   NOT NULL,
    prefix          TEXT   NOT NULL,
    suffix          TEXT   NOT NULL,
    permissions     TEXT   NOT NULL,
    expires_at      BIGINT NOT NULL,
    last_used_at    BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    PRIMARY KEY (organization_id, user_id, name),
    FOREIGN KEY (organization_id, user_id) REFERENCES organization_user (organization_id, user_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX api_key_hash ON api_key (hash);

CREATE TABLE region (
    id              TEXT   NOT NULL PRIMARY KEY,
    name            TEXT   NOT NULL,
    type            TEXT   NOT NULL,
    organization_id TEXT   NOT NULL, -- '' for shared ones
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX region_name ON region (organization_id, name);

CREATE TABLE runner (
    id              TEXT    NOT NULL PRIMARY KEY,
    region_id       TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    address         TEXT    NOT NULL,
    state           TEXT    NOT NULL,
    problem         TEXT    NOT NULL,
    unschedulable   BOOLEAN NOT NULL,
    draining        BOOLEAN NOT NULL,
    version         TEXT    NOT NULL,
    classes         TEXT    NOT NULL,
    images          TEXT    NOT NULL,
    cpu             BIGINT  NOT NULL,
    memory_gib      BIGINT  NOT NULL,
    disk_gib        BIGINT  NOT NULL,
    max_sandboxes   BIGINT  NOT NULL,
    used_sandboxes  BIGINT  NOT NULL,
    used_cpu        BIGINT  NOT NULL,
    used_memory_gib BIGINT  NOT NULL,
    used_disk_gib   BIGINT  NOT NULL,
    last_seen_at    BIGINT  NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL
);
CREATE INDEX runner_region ON runner (region_id);

CREATE TABLE snapshot (
    id              TEXT             NOT NULL PRIMARY KEY,
    organization_id TEXT             NOT NULL, -- '' for general ones
    general         BOOLEAN          NOT NULL,
    name            TEXT NOT NULL,
    name_lower      TEXT NOT NULL,
    image           TEXT             NOT NULL,
    state           TEXT NOT NULL,
    error_reason    TEXT             NOT NULL,
    size_gb         DOUBLE PRECISION NOT NULL,
    entrypoint      TEXT             NOT NULL,
    cpu             BIGINT           NOT NULL,
    gpu             BIGINT           NOT NULL,
    memory_gib      BIGINT           NOT NULL,
    disk_gib        BIGINT           NOT NULL,
    class           TEXT             NOT NULL,
    default_user    TEXT             NOT NULL,
    created_at      BIGINT           NOT NULL,
    updated_at      BIGINT           NOT NULL,
    last_used_at    BIGINT           NOT NULL
);
CREATE UNIQUE INDEX snapshot_name ON snapshot (organization_id, name);

CREATE TABLE sandbox (
    id                   TEXT NOT NULL PRIMARY KEY,
    organization_id      TEXT             NOT NULL,
    name                 TEXT NOT NULL,
    name_lower           TEXT NOT NULL,
    region_id            TEXT NOT NULL,
    class                TEXT             NOT NULL,
    snapshot             TEXT NOT NULL,
    image                TEXT             NOT NULL,
    os_user              TEXT             NOT NULL,
    env                  TEXT             NOT NULL,
    labels               TEXT             NOT NULL,
    public               BOOLEAN          NOT NULL,
    network_block_all    BOOLEAN          NOT NULL,
    network_allow        TEXT             NOT NULL,
    network_domains      TEXT             NOT NULL,
    cpu                  BIGINT           NOT NULL,
    gpu                  BIGINT           NOT NULL,
    memory_gib           BIGINT           NOT NULL,
    disk_gib             BIGINT           NOT NULL,
    auto_stop_minutes    BIGINT           NOT NULL,
    auto_archive_minutes BIGINT           NOT NULL,
    auto_delete_minutes  BIGINT           NOT NULL,
    idempotency_key      TEXT, -- NULL for none, and once it is being destroyed
    request_hash         TEXT             NOT NULL,
    -- The state columns: written by SaveSandbox only.
    state                TEXT NOT NULL,
    desired              TEXT             NOT NULL,
    pending              BOOLEAN          NOT NULL, -- somebody has to act; derived, for the index
    runner_id            TEXT             NOT NULL, -- '' for none
    error_reason         TEXT             NOT NULL,
    stop_reason          TEXT             NOT NULL,
    recoverable          BOOLEAN          NOT NULL,
    daemon_version       TEXT             NOT NULL,
    auth_token           TEXT             NOT NULL,
    state_since          BIGINT           NOT NULL,
    version              BIGINT           NOT NULL,
    created_at           BIGINT           NOT NULL,
    updated_at           BIGINT           NOT NULL,
    last_activity_at     BIGINT           NOT NULL
);
CREATE UNIQUE INDEX sandbox_name ON sandbox (organization_id, name) WHERE desired <> 'destroyed';
CREATE UNIQUE INDEX sandbox_key ON sandbox (organization_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX sandbox_by_activity ON sandbox (organization_id, last_activity_at, id) WHERE state <> 'destroyed';
CREATE INDEX sandbox_by_creation ON sandbox (organization_id, created_at, id) WHERE state <> 'destroyed';
CREATE INDEX sandbox_by_name ON sandbox (organization_id, name_lower, id) WHERE state <> 'destroyed';
CREATE INDEX sandbox_usage ON sandbox (organization_id, state, desired, cpu, memory_gib, disk_gib) WHERE state <> 'destroyed';
CREATE INDEX sandbox_on_runner ON sandbox (runner_id, id) WHERE runner_id <> '';
CREATE INDEX sandbox_pending ON sandbox (id) WHERE pending;
CREATE INDEX sandbox_idle ON sandbox ((last_activity_at + auto_stop_minutes * 60000)) WHERE state = 'started' AND desired = 'started' AND auto_stop_minutes > 0;
CREATE INDEX sandbox_delete_due ON sandbox ((last_activity_at + auto_delete_minutes * 60000)) WHERE state = 'stopped' AND desired = 'stopped' AND auto_delete_minutes >= 0;
CREATE INDEX sandbox_destroyed ON sandbox (updated_at) WHERE state = 'destroyed';

-- The labels again, one row each, to filter by.
CREATE TABLE sandbox_label (
    sandbox_id      TEXT NOT NULL REFERENCES sandbox (id) ON DELETE CASCADE,
    organization_id TEXT             NOT NULL,
    key             TEXT             NOT NULL,
    value           TEXT             NOT NULL,
    PRIMARY KEY (sandbox_id, key)
);
-- A value may be too long for an index, so it is compared after the key was found.
CREATE INDEX sandbox_label_key ON sandbox_label (organization_id, key, sandbox_id);

-- +goose Down
DROP TABLE sandbox_label;
DROP TABLE sandbox;
DROP TABLE snapshot;
DROP TABLE runner;
DROP TABLE region;
DROP TABLE api_key;
DROP TABLE organization_user;
DROP TABLE "user";
DROP TABLE organization;
