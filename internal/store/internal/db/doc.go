// Package db is the generated code of the queries: one method per query, rows as structs, no meaning.
package db
