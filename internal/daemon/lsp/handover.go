//go:build linux

package lsp

import (
	"syscall"

	"github.com/dugout-dev/dugout/internal/daemon/handover"
)

// A language server keeps nothing that cannot be made again from the files. So none is handed over: they end, and the
// next request to a project starts its server again and opens its documents, as after a crash.

var _ handover.Keeper = (*Handler)(nil)

type saved struct {
	Projects []savedProject `json:"projects"`
}

type savedProject struct {
	Language  string   `json:"language"`
	Path      string   `json:"path"`
	Documents []string `json:"documents,omitempty"`
}

// Freeze ends all servers and starts no more.
func (h *Handler) Freeze() {
	h.mu.Lock()
	h.frozen = true
	for _, p := range h.projects {
		p.take()
	}
	for proc := range h.live {
		_ = proc.child.SignalGroup(syscall.SIGKILL)
		proc.child.SignalTree(syscall.SIGKILL)
	}
	h.mu.Unlock()
}

// Save writes which servers are started and what is open in them.
func (h *Handler) Save(out *handover.Out) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var s saved
	for k, p := range h.projects {
		sp := savedProject{Language: k.language, Path: k.path}
		for path := range p.documents {
			sp.Documents = append(sp.Documents, path)
		}
		s.Projects = append(s.Projects, sp)
	}
	return out.Put("lsp", s)
}

// Thaw allows servers again: they start with the next requests.
func (h *Handler) Thaw() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.frozen = false
}

// Restore makes the projects known again.
func (h *Handler) Restore(in *handover.In) error {
	var s saved
	if ok, err := in.Get("lsp", &s); err != nil || !ok {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, sp := range s.Projects {
		if len(h.projects) >= maxProjects {
			break
		}
		if h.projects == nil {
			h.projects, h.live = map[key]*project{}, map[*process]struct{}{}
		}
		p := newProject(key{sp.Language, sp.Path})
		for _, path := range sp.Documents {
			if len(p.documents) < maxDocuments {
				p.documents[path] = &document{path: path}
			}
		}
		h.projects[p.key] = p
	}
	return nil
}
