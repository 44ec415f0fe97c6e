// Package store keeps the control plane's rows in SQLite or PostgreSQL. One set of queries serves both; what is stored is
// the portable subset of both: text, integers and booleans, times as unix milliseconds, lists and maps as JSON text.
//
// It holds the adapters of the domain's ports, one per topic, and no rule of the domain: those are in the packages that
// declare the ports. No method that acts for a caller takes an id without the organization.
package store

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the PostgreSQL driver
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"modernc.org/sqlite"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/store/internal/db"
)

//go:embed migrations
var migrations embed.FS

// DB is an open database with the present schema. It is safe for concurrent use.
type DB struct {
	dialect goose.Dialect
	read    *sql.DB
	write   *sql.DB // SQLite: one connection, so that writers queue here and never find the file busy
	log     *slog.Logger
}

// Connections. A SQLite connection costs about 0.3 MB; idle ones are given back.
const (
	sqliteReaders   = 4
	postgresConns   = 16
	idleConns       = 2
	idleFor         = time.Minute
	sqliteBusyWait  = 10_000 // milliseconds, for other processes on the same file
	sqliteCacheSize = -1000  // KiB per connection, as SQLite wants it: negative
)

// Open opens `sqlite:PATH` (made when missing, readable by its owner only) or `postgres://…` and brings the schema up to
// date. Several processes may open one PostgreSQL database at the same time.
func Open(ctx context.Context, address string, log *slog.Logger) (*DB, error) {
	d := &DB{log: log}
	var err error
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		err = d.openSQLite(ctx, path)
	} else if strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://") {
		err = d.openPostgres(ctx, address)
	} else { // it may hold a password
		err = errs.New(errs.Invalid, "database address must be sqlite:PATH or postgres://…")
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (d *DB) openSQLite(ctx context.Context, path string) error {
	if path == "" || strings.ContainsAny(path, "?#") {
		return errs.New(errs.Invalid, "database path must not be empty or contain '?' or '#', got %q", path)
	}
	// The file holds access tokens: it is made here, so that its mode does not depend on the umask.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "database %s cannot be opened", path)
	}
	if err := f.Close(); err != nil {
		return errs.Wrap(err, errs.Unavailable, "database %s cannot be opened", path)
	}
	open := func(conns int, more url.Values) (*sql.DB, error) {
		q := url.Values{"_pragma": {"busy_timeout(" + strconv.Itoa(sqliteBusyWait) + ")", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)",
			"cache_size(" + strconv.Itoa(sqliteCacheSize) + ")", "temp_store(MEMORY)", "journal_size_limit(8388608)"}}
		for k, v := range more {
			q[k] = append(q[k], v...)
		}
		pool, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
		if err != nil {
			return nil, err
		}
		pool.SetMaxOpenConns(conns)
		pool.SetMaxIdleConns(min(conns, idleConns))
		if conns > 1 {
			pool.SetConnMaxIdleTime(idleFor)
		}
		return pool, nil
	}
	d.dialect = goose.DialectSQLite3
	if d.write, err = open(1, url.Values{"_txlock": {"immediate"}}); err != nil {
		return err
	}
	if d.read, err = open(sqliteReaders, url.Values{"_pragma": {"query_only(ON)"}}); err != nil {
		return errors.Join(err, d.write.Close())
	}
	return d.migrate(ctx, "migrations/sqlite")
}

func (d *DB) openPostgres(ctx context.Context, address string) error {
	pool, err := sql.Open("pgx", address)
	if err != nil { // the address may hold a password
		return errs.New(errs.Invalid, "database address is not a valid PostgreSQL URL")
	}
	pool.SetMaxOpenConns(postgresConns)
	pool.SetMaxIdleConns(2 * idleConns)
	pool.SetConnMaxIdleTime(idleFor)
	d.dialect, d.read, d.write = goose.DialectPostgres, pool, pool
	return d.migrate(ctx, "migrations/postgres")
}

// migrate brings the schema up to date, or closes the database.
func (d *DB) migrate(ctx context.Context, dir string) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return err
	}
	options := []goose.ProviderOption{goose.WithSlog(slog.New(slog.DiscardHandler))}
	if d.dialect == goose.DialectPostgres {
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(d.dialect, d.write, files, options...)
	if err != nil {
		return errs.Wrap(err, errs.Internal, "migrations are not usable")
	}
	has, err := p.GetDBVersion(ctx)
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "the database does not answer")
	}
	sources := p.ListSources()
	if newest := sources[len(sources)-1].Version; has > newest {
		return errs.New(errs.Invalid, "the database has schema version %d, newer than this program knows (%d): use a newer program", has, newest)
	}
	done, err := p.Up(ctx)
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "the database schema could not be brought up to date")
	}
	if len(done) > 0 {
		d.log.InfoContext(ctx, "database schema brought up to date", "migrations", len(done))
	}
	return nil
}

// Close closes all connections.
func (d *DB) Close() error {
	err := d.write.Close()
	if d.read != nil && d.read != d.write {
		err = errors.Join(err, d.read.Close())
	}
	return err
}

// Ping reports whether the database answers.
func (d *DB) Ping(ctx context.Context) error {
	return fault(d.read.PingContext(ctx))
}

// tx runs do in one transaction, and again when the database asks for that.
func (d *DB) tx(ctx context.Context, do func(q *db.Queries) error) error {
	const tries = 5
	for n := 1; ; n++ {
		err := d.once(ctx, do)
		if err == nil || n == tries || !retriable(err) {
			return err
		}
	}
}

func (d *DB) once(ctx context.Context, do func(q *db.Queries) error) (err error) {
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return fault(err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the first error is the one that tells
		}
	}()
	if err := do(db.New(tx)); err != nil {
		return fault(err)
	}
	return fault(tx.Commit())
}

func (d *DB) reader() *db.Queries { return db.New(d.read) }
func (d *DB) writer() *db.Queries { return db.New(d.write) }

// Result codes of SQLite, from its documentation; the low byte is the class.
const (
	sqliteBusy       = 5
	sqliteLocked     = 6
	sqliteReadonly   = 8
	sqliteIOErr      = 10
	sqliteFull       = 13
	sqliteCantOpen   = 14
	sqliteConstraint = 19

	sqliteUnique     = 2067
	sqlitePrimaryKey = 1555
)

// fault classifies an error of the driver. Classified errors pass.
func fault(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errs.As(err); ok {
		return err
	}
	if errors.Is(err, sql.ErrNoRows) {
		return errs.Wrap(err, errs.NotFound, "not found")
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqliteFull:
			return errs.Wrap(err, errs.Unavailable, "the disk of the database is full")
		case sqliteBusy, sqliteLocked, sqliteReadonly, sqliteIOErr, sqliteCantOpen:
			return errs.Wrap(err, errs.Unavailable, "the database does not answer")
		}
		return errs.Wrap(err, errs.Internal, "internal error of the database")
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:2] {
		case "08", "40", "53", "55", "57", "58": // connection, rollback, resources, not now, operator, system
			return errs.Wrap(err, errs.Unavailable, "the database does not answer")
		}
		return errs.Wrap(err, errs.Internal, "internal error of the database")
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return errs.Wrap(err, errs.Timeout, "the database did not answer in time")
	}
	return errs.Wrap(err, errs.Unavailable, "the database does not answer")
}

// duplicate reports a violated unique index.
func duplicate(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return lite.Code() == sqliteUnique || lite.Code() == sqlitePrimaryKey || lite.Code() == sqliteConstraint
	}
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23505"
}

// retriable reports that PostgreSQL ended a transaction for the sake of another.
func retriable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}

// millis is a time as it is stored; 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func moment(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// text is a value as JSON. The values are strings, and lists and maps of them: it cannot fail.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// parse reads a column back. What stands there is ours.
func parse[T any](s, column string) (out T, err error) {
	if err := json.Unmarshal([]byte(s), &out); err != nil {
		return out, errs.Wrap(err, errs.Internal, "column %s holds no valid JSON", column)
	}
	return out, nil
}
