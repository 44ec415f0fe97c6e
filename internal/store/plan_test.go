package store_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/store"
	"github.com/dugout-dev/dugout/internal/store/storetest"
)

// TestNoScans asks SQLite how it would run every query that names the sandbox table: none may read the table from end to end.
func TestNoScans(t *testing.T) {
	address := storetest.SQLite(t)
	storetest.Open(t, address)
	db, err := sql.Open("sqlite", strings.TrimPrefix(address, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	statements := map[string]string{
		"list by activity": "SELECT * FROM sandbox s WHERE s.organization_id = $1 AND s.state <> 'destroyed' AND NOT (s.state = 'error' AND s.desired = 'destroyed') AND (s.last_activity_at, s.id) < ($2, $3) ORDER BY s.last_activity_at DESC, s.id DESC LIMIT $4",
		"list by creation": "SELECT * FROM sandbox s WHERE s.organization_id = $1 AND s.state <> 'destroyed' ORDER BY s.created_at DESC, s.id DESC LIMIT $2",
		"list by name":     "SELECT * FROM sandbox s WHERE s.organization_id = $1 AND s.state <> 'destroyed' ORDER BY s.name_lower ASC, s.id ASC LIMIT $2",
	}
	for _, file := range []string{"sandbox.sql", "runner.sql", "org.sql"} {
		b, err := os.ReadFile(filepath.Join("queries", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(b), "-- name: ")[1:] {
			name, body, _ := strings.Cut(part, "\n")
			body = regexp.MustCompile(`sqlc\.embed\((\w+)\)`).ReplaceAllString(body, "$1.*")
			if statement, _, ok := strings.Cut(body, ";"); ok {
				statements[name] = statement
			}
		}
	}
	small := map[string]bool{
		"ListRunners :many":         true, // few rows, all of them wanted
		"PersonalOrganization :one": true, // once at each start
	}
	for name, statement := range statements {
		n := 0
		for _, m := range regexp.MustCompile(`\$(\d+)`).FindAllStringSubmatch(statement, -1) {
			n = max(n, int(m[1][0]-'0'))
			if len(m[1]) == 2 {
				n = max(n, 10*int(m[1][0]-'0')+int(m[1][1]-'0'))
			}
		}
		rows, err := db.Query("EXPLAIN QUERY PLAN "+statement, make([]any, n)...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(detail, "SCAN") && !strings.Contains(detail, "USING") && !strings.Contains(detail, "CONSTANT ROW") && !small[name] ||
				strings.Contains(detail, "TEMP B-TREE") && strings.Contains(statement, "FROM sandbox") {
				t.Errorf("%s: %s", name, detail)
			}
		}
		rows.Close()
	}
}

func TestOpen(t *testing.T) {
	for _, bad := range []string{"", "mysql://x", "sqlite:", "sqlite:/x?mode=memory", "sqlite:/does/not/exist/db"} {
		if _, err := store.Open(context.Background(), bad, nil); err == nil {
			t.Errorf("%q was opened", bad)
		}
	}
	if _, err := store.Open(context.Background(), "postgres://u:canary@127.0.0.1:1/x?connect_timeout=1", nil); !errs.Is(err, errs.Unavailable) || strings.Contains(err.Error(), "canary") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	address := storetest.SQLite(t)
	if err := storetest.Open(t, address).Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", strings.TrimPrefix(address, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := store.Open(context.Background(), address, nil); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "9999") {
		t.Errorf("%v", err)
	}
}

func TestDialectsAgree(t *testing.T) {
	for _, pair := range [][2]string{{"migrations/postgres", "migrations/sqlite"}} {
		files, err := filepath.Glob(pair[0] + "/*.sql")
		if err != nil || len(files) == 0 {
			t.Fatal("no migrations", err)
		}
		for _, f := range files {
			a, err1 := os.ReadFile(f)
			b, err2 := os.ReadFile(filepath.Join(pair[1], filepath.Base(f)))
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			squeeze := func(s string) string {
				return regexp.MustCompile(`\s+`).ReplaceAllString(strings.ReplaceAll(s, ` COLLATE "C"`, ""), " ")
			}
			if squeeze(string(a)) != squeeze(string(b)) {
				t.Errorf("%s differs between the dialects in more than collations", filepath.Base(f))
			}
		}
	}
}

func TestPing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, address string) {
		db := storetest.Open(t, address)
		if err := db.Ping(context.Background()); err != nil {
			t.Error(err)
		}
		_ = db.Close()
		if err := db.Ping(context.Background()); !errs.Is(err, errs.Unavailable) {
			t.Errorf("closed: %v", err)
		}
	})
}
