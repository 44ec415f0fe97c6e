-- +goose Up
-- What the file URLs of a sandbox are signed with; made when first asked for. Apart from the sandbox, so that no other query
-- carries the secret.
CREATE TABLE sandbox_signing_key (
    sandbox_id TEXT   NOT NULL PRIMARY KEY REFERENCES sandbox (id) ON DELETE CASCADE,
    secret     TEXT   NOT NULL,
    made_at    BIGINT NOT NULL
);

-- +goose Down
DROP TABLE sandbox_signing_key;
