// Package storetest opens databases for tests: a new one for each, on SQLite and on PostgreSQL. PostgreSQL runs as a
// throw-away cluster of the test process; where it is not installed its tests are skipped with the reason.
package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dugout-dev/dugout/internal/store"
)

// Each runs a test with the address of an empty database of each kind.
func Each(t *testing.T, test func(t *testing.T, address string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t)) })
}

// Open opens a database and closes it at the end of the test.
func Open(t testing.TB, address string) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), address, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("open database: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// SQLite returns the address of a new SQLite database.
func SQLite(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "dugout.db")
}

var (
	once    sync.Once
	cluster *postgres
	failed  error
	number  atomic.Int64
)

// errAbsent is why there is no PostgreSQL.
var errAbsent = errors.New("PostgreSQL is not installed (looked for /usr/lib/postgresql/*/bin/initdb)")

// Postgres returns the address of a new PostgreSQL database. [Main] must run the tests of the package.
func Postgres(t testing.TB) string {
	t.Helper()
	once.Do(func() { cluster, failed = start() })
	if errors.Is(failed, errAbsent) {
		t.Skip(failed)
	} else if failed != nil {
		t.Fatalf("start PostgreSQL: %v", failed)
	}
	name := "test" + strconv.FormatInt(number.Add(1), 10)
	db, err := sql.Open("pgx", cluster.address("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(context.Background(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("create database: %v", err)
	}
	return cluster.address(name)
}

// Main runs the tests of a package and stops PostgreSQL after them.
func Main(m *testing.M) {
	code := m.Run()
	if cluster != nil {
		cluster.stop()
	}
	os.Exit(code)
}

type postgres struct {
	dir  string
	proc *exec.Cmd
}

func (p *postgres) address(database string) string {
	return fmt.Sprintf("postgres:///%s?host=%s&user=postgres&sslmode=disable", database, p.dir)
}

func (p *postgres) stop() {
	_ = p.proc.Process.Signal(syscall.SIGQUIT) // at once: nothing of it is kept
	_ = p.proc.Wait()
	_ = os.RemoveAll(p.dir)
}

func start() (*postgres, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return nil, errAbsent
	}
	bin := filepath.Dir(found[len(found)-1])
	dir, err := os.MkdirTemp("", "dugout-pg-")
	if err != nil {
		return nil, err
	}
	p := &postgres{dir: dir}
	as := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Geteuid() == 0 { // PostgreSQL refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, errors.Join(errAbsent, err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8")
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	p.proc = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=300",
		"-c", "log_min_messages=fatal")
	p.proc.SysProcAttr, p.proc.Dir = as, dir
	if err := p.proc.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if p.answers() {
			return p, nil
		}
		if time.Now().After(deadline) {
			p.stop()
			return nil, errors.New("PostgreSQL did not answer within 30 s")
		}
	}
}

func (p *postgres) answers() bool {
	if _, err := os.Stat(filepath.Join(p.dir, ".s.PGSQL.5432")); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	db, err := sql.Open("pgx", p.address("postgres"))
	if err != nil {
		return false
	}
	defer db.Close()
	return db.PingContext(context.Background()) == nil
}
