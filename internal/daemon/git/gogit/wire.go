//go:build linux

package gogit

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-billy/v5/osfs"
	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/client"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/plumbing/transport/server"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"golang.org/x/crypto/ssh"

	"github.com/dugout-dev/dugout/internal/daemon/git/op"
	"github.com/dugout-dev/dugout/internal/errs"
)

// Repositories on disk are served by the library too: its own way is to run git.
var install = sync.OnceFunc(func() { client.InstallProtocol("file", disk{server.NewServer(loader{})}) })

// loader opens a repository on disk, bare or not.
type loader struct{}

// Load implements server.Loader.
func (loader) Load(ep *transport.Endpoint) (storer.Storer, error) {
	path := ep.Path
	if st, err := os.Stat(filepath.Join(path, ".git")); err == nil && st.IsDir() {
		path = filepath.Join(path, ".git")
	} else if _, err := os.Stat(filepath.Join(path, "HEAD")); err != nil {
		return nil, transport.ErrRepositoryNotFound
	}
	return filesystem.NewStorage(osfs.New(path), cache.NewObjectLRUDefault()), nil
}

// disk is the library's server, which fails when it is told of commits that it does not have.
type disk struct{ transport.Transport }

// NewUploadPackSession implements transport.Transport.
func (d disk) NewUploadPackSession(ep *transport.Endpoint, auth transport.AuthMethod) (transport.UploadPackSession, error) {
	objects, err := loader{}.Load(ep)
	if err != nil {
		return nil, err
	}
	s, err := d.Transport.NewUploadPackSession(ep, auth)
	if err != nil {
		return nil, err
	}
	return diskSession{s, objects}, nil
}

type diskSession struct {
	transport.UploadPackSession
	objects storer.Storer
}

// UploadPack implements transport.UploadPackSession.
func (s diskSession) UploadPack(ctx context.Context, r *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	r.Haves = slices.DeleteFunc(r.Haves, func(h plumbing.Hash) bool { return s.objects.HasEncodedObject(h) != nil })
	return s.UploadPackSession.UploadPack(ctx, r)
}

// wire is the way to one remote.
type wire struct {
	url     string
	auth    transport.AuthMethod
	skipTLS bool
}

// wire prepares to talk to a remote. The library takes credentials away when a redirect leads to another host.
func (l *Library) wire(u *op.URL, auth *op.Auth, skipTLS bool) (*wire, error) {
	install()
	w := &wire{url: u.Text, skipTLS: skipTLS}
	if auth == nil && u.Origin != "" {
		auth = l.stored(u.Origin)
	}
	if auth != nil && u.Origin != "" {
		w.auth = &githttp.BasicAuth{Username: auth.Username, Password: auth.Password}
	}
	ep, err := transport.NewEndpoint(u.Text)
	if err != nil {
		return nil, errs.Wrap(err, errs.Invalid, "the remote's address cannot be used")
	}
	if ep.Protocol == "ssh" {
		if w.auth, err = l.keys(ep.User); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// keys are those of the user, and of an agent where there is one. The host must be in known_hosts.
func (l *Library) keys(user string) (transport.AuthMethod, error) {
	if user == "" {
		user = os.Getenv("USER")
	}
	dir := filepath.Join(l.Home, ".ssh")
	hosts, err := gitssh.NewKnownHostsCallback(filepath.Join(dir, "known_hosts"))
	if err != nil {
		return nil, op.TransportFailed("there is no " + filepath.Join(dir, "known_hosts") + " that can be read; add the host's key to it, as with ssh-keyscan")
	}
	var signers []ssh.Signer
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if s, err := ssh.ParsePrivateKey(text); err == nil { // one with a passphrase cannot be used
			signers = append(signers, s)
		}
	}
	a := &gitssh.PublicKeysCallback{User: user, Callback: func() ([]ssh.Signer, error) {
		if agent, err := gitssh.NewSSHAgentAuth(user); err == nil {
			if more, err := agent.Callback(); err == nil {
				return append(more, signers...), nil
			}
		}
		return signers, nil
	}}
	a.HostKeyCallback = hosts
	return a, nil
}

// fault classifies what went wrong between here and the remote.
func (w *wire) fault(err error) error {
	if _, ok := errs.As(err); ok {
		return err
	}
	url := op.Shown(w.url)
	var answer *githttp.Err
	switch {
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		return op.EmptyRemote(url)
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return op.RemoteNotFound(url)
	case errors.Is(err, transport.ErrAuthenticationRequired):
		return op.AuthFailed(url)
	case errors.Is(err, transport.ErrAuthorizationFailed):
		return op.Forbidden(url)
	case errors.Is(err, git.NoMatchingRefSpecError{}):
		return op.NoBranch("", url)
	case errors.As(err, &answer) && answer.Response != nil:
		switch answer.Response.StatusCode {
		case http.StatusUnauthorized:
			return op.AuthFailed(url)
		case http.StatusForbidden:
			return op.Forbidden(url)
		case http.StatusNotFound, http.StatusGone:
			return op.RemoteNotFound(url)
		}
	case strings.Contains(err.Error(), "unable to authenticate"): // of the ssh library, which gives it no type
		return op.AuthFailed(url)
	}
	return op.TransportFailed(valid(err.Error()))
}
