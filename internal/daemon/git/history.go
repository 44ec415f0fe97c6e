//go:build linux

package git

import (
	"bufio"
	"encoding/json"
	"net/http"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/git/op"
)

type historyIn struct {
	Path  string `query:"path" required:"true" doc:"Directory of the repository."`
	Limit int    `query:"limit" minimum:"0" doc:"At most so many commits; absent or 0: all. An addition to the 0.x wire."`
}

// history writes the commits as they come: a long history takes no memory. A failure after the first bytes cuts the answer.
func (h *Handler) history(w http.ResponseWriter, r *http.Request, in *historyIn) error {
	dir, err := h.resolve(in.Path)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 32<<10)
	begun := false
	begin := func() error {
		if begun {
			return out.WriteByte(',')
		}
		begun = true
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		return out.WriteByte('[')
	}
	_, err = h.do(r.Context(), &op.Request{Kind: op.History, Dir: dir, Limit: in.Limit}, func(c *toolbox.GitCommitInfo) error {
		b, err := json.Marshal(c)
		if err != nil {
			return err
		}
		if err := begin(); err != nil {
			return err
		}
		_, err = out.Write(b)
		return err
	})
	if err != nil {
		if begun {
			_ = out.Flush() // so that the edge sees that the answer has begun, and cuts it
		}
		return err
	}
	if !begun {
		if err := begin(); err != nil {
			return err
		}
	}
	if err := out.WriteByte(']'); err != nil {
		return err
	}
	return out.Flush()
}
