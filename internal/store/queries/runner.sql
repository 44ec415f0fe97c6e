-- name: ListRunners :many
SELECT * FROM runner ORDER BY id;

-- name: ListRunnersOfRegion :many
SELECT * FROM runner WHERE region_id = $1 ORDER BY id;

-- name: GetRunner :one
SELECT * FROM runner WHERE id = $1;

-- name: RegisterRunner :exec
INSERT INTO runner (id, region_id, name, address, state, problem, unschedulable, draining, version, classes, images, cpu, memory_gib,
    disk_gib, max_sandboxes, used_sandboxes, used_cpu, used_memory_gib, used_disk_gib, last_seen_at, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, '', FALSE, FALSE, '', '[]', '[]', 0, 0, 0, $6, 0, 0, 0, 0, 0, $7, $8)
ON CONFLICT (id) DO UPDATE SET region_id = excluded.region_id, name = excluded.name, address = excluded.address,
    max_sandboxes = excluded.max_sandboxes, updated_at = excluded.updated_at;

-- name: ReportRunner :exec
UPDATE runner SET state = $2, problem = $3, version = $4, classes = $5, images = $6, cpu = $7, memory_gib = $8, disk_gib = $9,
    last_seen_at = $10, updated_at = $11
WHERE id = $1;

-- name: LoadRunner :execrows
UPDATE runner SET used_sandboxes = used_sandboxes + 1, used_cpu = used_cpu + $2, used_memory_gib = used_memory_gib + $3, used_disk_gib = used_disk_gib + $4
WHERE id = $1 AND (max_sandboxes = 0 OR used_sandboxes < max_sandboxes);

-- name: UnloadRunner :exec
UPDATE runner SET used_sandboxes = used_sandboxes - 1, used_cpu = used_cpu - $2, used_memory_gib = used_memory_gib - $3, used_disk_gib = used_disk_gib - $4
WHERE id = $1 AND used_sandboxes > 0;

-- name: SumRunner :one
SELECT COUNT(*) AS sandboxes, CAST(COALESCE(SUM(cpu), 0) AS BIGINT) AS cpu, CAST(COALESCE(SUM(memory_gib), 0) AS BIGINT) AS memory_gib,
    CAST(COALESCE(SUM(disk_gib), 0) AS BIGINT) AS disk_gib
FROM sandbox WHERE runner_id = $1 AND runner_id <> '';

-- name: SetRunnerLoad :exec
UPDATE runner SET used_sandboxes = $2, used_cpu = $3, used_memory_gib = $4, used_disk_gib = $5
WHERE id = $1 AND (used_sandboxes <> $2 OR used_cpu <> $3 OR used_memory_gib <> $4 OR used_disk_gib <> $5);

-- LockRunner makes a recount and the counting of one sandbox wait for each other.
-- name: LockRunner :exec
UPDATE runner SET name = name WHERE id = $1;

-- name: ScheduleRunner :execrows
UPDATE runner SET unschedulable = $2, draining = $3, updated_at = $4 WHERE id = $1;
