//go:build linux

package git_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// sshServer runs git for whoever has the key, on loopback. It returns its address and its line for known_hosts.
func sshServer(t *testing.T, allowed ssh.PublicKey) (addr, known string) {
	t.Helper()
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(hostKey)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(allowed.Marshal()) {
			return nil, os.ErrPermission
		}
		return &ssh.Permissions{}, nil
	}}
	cfg.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveSSH(c, cfg)
		}
	}()
	return l.Addr().String(), knownhosts.Line([]string{l.Addr().String()}, signer.PublicKey()) + "\n"
}

func serveSSH(c net.Conn, cfg *ssh.ServerConfig) {
	defer func() { _ = c.Close() }()
	_, channels, requests, err := ssh.NewServerConn(c, cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for nc := range channels {
		ch, requests, err := nc.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			if r.Type != "exec" {
				_ = r.Reply(false, nil)
				continue
			}
			_ = r.Reply(true, nil)
			var line struct{ Command string }
			_ = ssh.Unmarshal(r.Payload, &line)
			cmd := exec.Command("sh", "-c", line.Command)
			cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
			in, _ := cmd.StdinPipe()
			code := uint32(1)
			if cmd.Start() == nil {
				go func() {
					_, _ = io.Copy(in, ch)
					_ = in.Close()
				}()
				if cmd.Wait() == nil {
					code = 0
				}
			}
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
			_ = ch.Close()
		}
	}
}

func TestSSH(t *testing.T) {
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip(err)
	}
	both(t, func(t *testing.T, s *suite) {
		s.seed()
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		allowed, err := ssh.NewPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			t.Fatal(err)
		}
		addr, known := sshServer(t, allowed)
		s.write(".ssh/known_hosts", known)
		s.write(".ssh/id_ed25519", string(pem.EncodeToMemory(block)))
		if err := os.Chmod(s.path(".ssh/id_ed25519"), 0o600); err != nil {
			t.Fatal(err)
		}
		// ssh finds the home in the passwd file, which a test cannot change.
		s.git("", "config", "--global", "core.sshCommand", "ssh -F none -o IdentitiesOnly=yes -i "+s.path(".ssh/id_ed25519")+" -o UserKnownHostsFile="+s.path(".ssh/known_hosts"))
		url := "ssh://git@" + addr + s.path("origin.git")
		s.post("clone", m{"url": url, "path": "work", "username": "not", "password": "used"})
		s.git("work", "commit", "-q", "--allow-empty", "-m", "more")
		s.post("push", m{"path": "work"})
		s.post("pull", m{"path": "work"})
		if s.git("work", "rev-parse", "HEAD") != s.git("origin.git", "rev-parse", "main") {
			t.Error("not pushed")
		}
		s.fails(404, "GIT_REPO_NOT_FOUND", "POST", "clone", m{"url": "ssh://git@" + addr + s.path("missing.git"), "path": "x"})

		other, _ := sshServer(t, allowed) // its key is not known
		s.fails(502, "GIT_TRANSPORT_FAILED", "POST", "clone", m{"url": "ssh://git@" + other + s.path("origin.git"), "path": "x"})
		wrong, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		wrongKey, err := ssh.NewPublicKey(wrong)
		if err != nil {
			t.Fatal(err)
		}
		refusing, line := sshServer(t, wrongKey)
		s.write(".ssh/known_hosts", strings.TrimSpace(known)+"\n"+line)
		s.fails(401, "GIT_AUTH_FAILED", "POST", "clone", m{"url": "ssh://git@" + refusing + s.path("origin.git"), "path": "x"})
	})
}
