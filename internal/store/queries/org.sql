-- name: GetOrganization :one
SELECT * FROM organization WHERE id = $1;

-- name: ListOrganizationsOfUser :many
SELECT o.* FROM organization o JOIN organization_user m ON m.organization_id = o.id
WHERE m.user_id = $1 ORDER BY o.created_at, o.id;

-- name: PersonalOrganization :one
SELECT * FROM organization WHERE created_by = $1 AND personal ORDER BY created_at, id LIMIT 1;

-- name: AddOrganization :exec
INSERT INTO organization (id, name, created_by, personal, default_region, suspended, suspension_reason, max_cpu_per_sandbox,
    max_memory_gib_per_sandbox, max_disk_gib_per_sandbox, max_sandboxes, total_cpu, total_memory_gib, total_disk_gib, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- name: SetOrganizationLimits :exec
UPDATE organization SET default_region = $2, max_cpu_per_sandbox = $3, max_memory_gib_per_sandbox = $4, max_disk_gib_per_sandbox = $5,
    max_sandboxes = $6, total_cpu = $7, total_memory_gib = $8, total_disk_gib = $9, updated_at = $10
WHERE id = $1;

-- LockOrganization makes transactions that count what an organization uses wait for each other.
-- name: LockOrganization :execrows
UPDATE organization SET updated_at = updated_at WHERE id = $1;

-- name: GetUser :one
SELECT * FROM "user" WHERE id = $1;

-- name: AddUser :exec
INSERT INTO "user" (id, name, email, admin, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING;

-- LockUser makes transactions that set up what a user owns wait for each other.
-- name: LockUser :exec
UPDATE "user" SET name = name WHERE id = $1;

-- name: AddMember :exec
INSERT INTO organization_user (organization_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (organization_id, user_id) DO NOTHING;

-- name: GetCredential :one
SELECT sqlc.embed(k), m.role, u.admin, o.suspended, o.suspension_reason
FROM api_key k
JOIN organization_user m ON m.organization_id = k.organization_id AND m.user_id = k.user_id
JOIN organization o ON o.id = k.organization_id
JOIN "user" u ON u.id = k.user_id
WHERE k.hash = $1;

-- name: PutKey :exec
INSERT INTO api_key (organization_id, user_id, name, hash, prefix, suffix, permissions, expires_at, last_used_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9)
ON CONFLICT (organization_id, user_id, name) DO UPDATE
SET hash = excluded.hash, prefix = excluded.prefix, suffix = excluded.suffix, permissions = excluded.permissions, expires_at = excluded.expires_at;

-- name: TouchKey :exec
UPDATE api_key SET last_used_at = $4 WHERE organization_id = $1 AND user_id = $2 AND name = $3 AND last_used_at < $4;

-- name: ListRegions :many
SELECT * FROM region WHERE organization_id = '' OR organization_id = $1 ORDER BY organization_id DESC, created_at, id;

-- name: PutRegion :exec
INSERT INTO region (id, name, type, organization_id, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, updated_at = excluded.updated_at WHERE region.name <> excluded.name;

-- name: SuspendOrganization :execrows
UPDATE organization SET suspended = $2, suspension_reason = $3, updated_at = $4 WHERE id = $1;

-- name: AddKey :exec
INSERT INTO api_key (organization_id, user_id, name, hash, prefix, suffix, permissions, expires_at, last_used_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9);

-- name: RemoveKey :execrows
DELETE FROM api_key WHERE organization_id = $1 AND user_id = $2 AND name = $3;
