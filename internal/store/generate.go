package store

// The queries are compiled for PostgreSQL and run on both dialects: SQLite takes $1 too. The generator is not a dependency of
// the module; version 1.31.1 made what is committed.
//
//go:generate go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1 generate
