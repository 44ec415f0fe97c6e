package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/id"
)

// AdminKeyFile is the file in the data directory that holds the administrator's API key, mode 0600.
const AdminKeyFile = "admin.key"

// APIURLFile is the file in the data directory that says where the API of the local installation answers.
const APIURLFile = "api.url"

// EnsureAdminKey returns the administrator's API key: the configured one, else that of the data directory, which is made
// when it does not exist. The file is complete or absent at every moment, also for other processes.
func EnsureAdminKey(c Config) (Secret, error) {
	if c.Server.AdminAPIKey != "" {
		return c.Server.AdminAPIKey, nil
	}
	path := filepath.Join(c.DataDir, AdminKeyFile)
	if err := os.MkdirAll(c.DataDir, 0o755); err != nil {
		return "", errs.Wrap(err, errs.Unavailable, "cannot make the data directory %s", c.DataDir)
	}
	key, err := readKey(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := writeOnce(path, id.APIKey()+"\n"); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", errs.Wrap(err, errs.Unavailable, "cannot write %s", path)
	}
	return readKey(path) // ours, or that of a process that was first
}

func readKey(path string) (Secret, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fs.ErrNotExist
	}
	if err != nil {
		return "", errs.Wrap(err, errs.Unavailable, "cannot read %s", path)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return "", errs.New(errs.Invalid, "%s is not an ordinary file", path)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return "", errs.New(errs.Invalid, "%s can be read by others (mode %04o); make it private: chmod 600 %s", path, st.Mode().Perm(), path)
	}
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", errs.Wrap(err, errs.Unavailable, "cannot read %s", path)
	}
	key := strings.TrimSpace(string(b))
	if err := checkKey(key); err != nil {
		return "", errs.New(errs.Invalid, "%s: %v", path, err)
	}
	return Secret(key), nil
}

// checkKey says what a key must be so that it can travel in a header and is not guessed in a moment.
func checkKey(key string) error {
	if len(key) < 16 || len(key) > 512 {
		return errs.New(errs.Invalid, "an API key has 16 to 512 characters, this one has %d", len(key))
	}
	for _, c := range []byte(key) {
		if c <= ' ' || c > '~' {
			return errs.New(errs.Invalid, "an API key consists of printable ASCII characters without spaces")
		}
	}
	return nil
}

// writeOnce makes a file that does not exist yet: written beside it, then linked into place.
func writeOnce(path, content string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, werr := tmp.WriteString(content)
	if err := errors.Join(werr, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Link(tmp.Name(), path)
}

// PublishURL writes where the API of this installation answers, for the command line of the same host.
func PublishURL(c Config, apiURL string) error {
	tmp, err := os.CreateTemp(c.DataDir, ".new-*")
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot write to the data directory %s", c.DataDir)
	}
	defer os.Remove(tmp.Name())
	_, werr := tmp.WriteString(apiURL + "\n")
	err = errors.Join(werr, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(c.DataDir, APIURLFile))
	}
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "cannot write %s in %s", APIURLFile, c.DataDir)
	}
	return nil
}
