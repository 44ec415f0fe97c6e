-- name: AddSandbox :exec
INSERT INTO sandbox (id, organization_id, name, name_lower, region_id, class, snapshot, image, os_user, env, labels, public,
    network_block_all, network_allow, network_domains, cpu, gpu, memory_gib, disk_gib, auto_stop_minutes, auto_archive_minutes,
    auto_delete_minutes, idempotency_key, request_hash, state, desired, pending, runner_id, error_reason, stop_reason, recoverable,
    daemon_version, auth_token, state_since, version, created_at, updated_at, last_activity_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27,
    $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38);

-- SaveSandbox is the only writer of the state columns. It does nothing when somebody else wrote first.
-- name: SaveSandbox :execrows
UPDATE sandbox SET state = $4, desired = $5, pending = $6, runner_id = $7, error_reason = $8, stop_reason = $9, recoverable = $10,
    daemon_version = $11, auth_token = $12, state_since = $13, name = $14, name_lower = $15, updated_at = $16,
    last_activity_at = CASE WHEN last_activity_at > $17 THEN last_activity_at ELSE $17 END,
    idempotency_key = CASE WHEN $5 = 'destroyed' THEN NULL ELSE idempotency_key END, version = version + 1
WHERE organization_id = $1 AND id = $2 AND version = $3;

-- name: GetSandbox :one
SELECT * FROM sandbox WHERE id = $1;

-- name: GetSandboxOf :one
SELECT * FROM sandbox WHERE id = $2 AND organization_id = $1;

-- name: GetSandboxByName :one
SELECT * FROM sandbox WHERE organization_id = $1 AND name = $2 AND desired <> 'destroyed';

-- name: GetSandboxByKey :one
SELECT * FROM sandbox WHERE organization_id = $1 AND idempotency_key = $2 AND idempotency_key IS NOT NULL;

-- name: ConfigureSandbox :execrows
UPDATE sandbox SET labels = $3, public = $4, auto_stop_minutes = $5, auto_archive_minutes = $6, auto_delete_minutes = $7,
    updated_at = $8, version = version + 1
WHERE organization_id = $1 AND id = $2 AND version = $9;

-- name: RemoveSandbox :execrows
DELETE FROM sandbox WHERE organization_id = $1 AND id = $2 AND version = $3 AND state = 'destroyed';

-- name: SandboxUsage :one
SELECT COUNT(*) AS sandboxes, CAST(COALESCE(SUM(cpu), 0) AS BIGINT) AS cpu, CAST(COALESCE(SUM(memory_gib), 0) AS BIGINT) AS memory_gib
FROM sandbox
WHERE organization_id = $1 AND state <> 'destroyed'
  AND state IN ('creating', 'starting', 'started', 'stopping');

-- name: SandboxDisk :one
SELECT COUNT(*) AS sandboxes, CAST(COALESCE(SUM(disk_gib), 0) AS BIGINT) AS disk_gib
FROM sandbox
WHERE organization_id = $1 AND state <> 'destroyed'
  AND state IN ('creating', 'starting', 'started', 'stopping', 'stopped');

-- name: ListPending :many
SELECT * FROM sandbox WHERE pending AND id > $1 ORDER BY id LIMIT $2;

-- name: ListOnRunner :many
SELECT * FROM sandbox WHERE runner_id = $1 AND runner_id <> '' AND id > $2 ORDER BY id LIMIT $3;

-- name: ListIdle :many
SELECT * FROM sandbox
WHERE state = 'started' AND desired = 'started' AND auto_stop_minutes > 0
  AND (last_activity_at + auto_stop_minutes * 60000) <= $1 AND auto_stop_minutes * 60000 <= $2
ORDER BY (last_activity_at + auto_stop_minutes * 60000) LIMIT $3;

-- name: ListDeleteDue :many
SELECT * FROM sandbox
WHERE state = 'stopped' AND desired = 'stopped' AND auto_delete_minutes >= 0
  AND (last_activity_at + auto_delete_minutes * 60000) <= $1 AND auto_delete_minutes * 60000 <= $2
ORDER BY (last_activity_at + auto_delete_minutes * 60000) LIMIT $3;

-- name: PurgeSandboxes :execrows
DELETE FROM sandbox WHERE id IN (
    SELECT s.id FROM sandbox s WHERE s.state = 'destroyed' AND s.updated_at < $1 ORDER BY s.updated_at LIMIT $2);

-- name: TouchSandbox :exec
UPDATE sandbox SET last_activity_at = $2 WHERE id = $1 AND last_activity_at < $2 AND state <> 'destroyed';

-- name: AddLabel :exec
INSERT INTO sandbox_label (sandbox_id, organization_id, key, value) VALUES ($1, $2, $3, $4);

-- name: DropLabels :exec
DELETE FROM sandbox_label WHERE sandbox_id = $1;

-- name: AddSigningKey :exec
INSERT INTO sandbox_signing_key (sandbox_id, secret, made_at) VALUES ($1, $2, $3) ON CONFLICT (sandbox_id) DO NOTHING;

-- name: ReplaceSigningKey :exec
INSERT INTO sandbox_signing_key (sandbox_id, secret, made_at) VALUES ($1, $2, $3)
ON CONFLICT (sandbox_id) DO UPDATE SET secret = excluded.secret, made_at = excluded.made_at;

-- name: GetSigningKey :one
SELECT secret FROM sandbox_signing_key WHERE sandbox_id = $1;
