-- name: MatchSnapshots :many
SELECT * FROM snapshot WHERE (id = $2 OR name = $2) AND (organization_id = $1 OR general);

-- name: ListGeneralSnapshots :many
SELECT * FROM snapshot WHERE organization_id = '' AND general ORDER BY name;

-- name: OfferSnapshot :exec
INSERT INTO snapshot (id, organization_id, general, name, name_lower, image, state, error_reason, size_gb, entrypoint, cpu, gpu,
    memory_gib, disk_gib, class, default_user, created_at, updated_at, last_used_at)
VALUES ($1, '', TRUE, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
ON CONFLICT (organization_id, name) DO UPDATE SET image = excluded.image, state = excluded.state, error_reason = excluded.error_reason,
    size_gb = excluded.size_gb, entrypoint = excluded.entrypoint, cpu = excluded.cpu, gpu = excluded.gpu, memory_gib = excluded.memory_gib,
    disk_gib = excluded.disk_gib, class = excluded.class, default_user = excluded.default_user, updated_at = excluded.updated_at;

-- name: UseSnapshot :exec
UPDATE snapshot SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2;
