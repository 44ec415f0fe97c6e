//go:build linux

package desktop

import (
	"context"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/daemon/desktop/a11y"
	"github.com/dugout-dev/dugout/internal/errs"
)

type treeIn struct {
	Scope string `query:"scope" doc:"focused (default): the active window; pid: one process; all: every program."`
	PID   int    `query:"pid" doc:"Process, when scope is pid."`
	Depth *int   `query:"maxDepth" doc:"Levels below the root, 0: the root alone; default -1: all."`
}

func (h *Handler) tree(ctx context.Context, in *treeIn) (toolbox.AccessibilityTree, error) {
	if err := h.installed(); err != nil {
		return toolbox.AccessibilityTree{}, err
	}
	q := a11y.Query{Scope: in.Scope, PID: in.PID, Depth: -1}
	if in.Depth != nil {
		if q.Depth = *in.Depth; q.Depth < -1 {
			return toolbox.AccessibilityTree{}, errs.New(errs.Invalid, "maxDepth must be at least -1, got %d", q.Depth).WithCode(a11y.CodeInvalid)
		}
	}
	root, truncated, err := h.bus.Tree(ctx, q)
	return toolbox.AccessibilityTree{Root: root, Truncated: truncated}, err
}

type findIn struct{ Body toolbox.AccessibilityFind }

func (h *Handler) find(ctx context.Context, in *findIn) (toolbox.AccessibilityNodes, error) {
	if err := h.installed(); err != nil {
		return toolbox.AccessibilityNodes{}, err
	}
	f, err := a11y.NewFilter(in.Body)
	if err != nil {
		return toolbox.AccessibilityNodes{}, err
	}
	matches, truncated, err := h.bus.Find(ctx, a11y.Query{Scope: in.Body.Scope, PID: in.Body.PID, Depth: -1}, f)
	if matches == nil {
		matches = []*toolbox.AccessibilityNode{}
	}
	return toolbox.AccessibilityNodes{Matches: matches, Truncated: truncated}, err
}

type nodeIn struct{ Body toolbox.AccessibilityNodeID }

func (h *Handler) focusNode(ctx context.Context, in *nodeIn) (toolbox.Nothing, error) {
	if err := h.installed(); err != nil {
		return toolbox.Nothing{}, err
	}
	return toolbox.Nothing{}, h.bus.Focus(ctx, in.Body.ID)
}

type invokeIn struct{ Body toolbox.AccessibilityInvoke }

func (h *Handler) invokeNode(ctx context.Context, in *invokeIn) (toolbox.Nothing, error) {
	if err := h.installed(); err != nil {
		return toolbox.Nothing{}, err
	}
	return toolbox.Nothing{}, h.bus.Invoke(ctx, in.Body.ID, in.Body.Action)
}

type valueIn struct{ Body toolbox.AccessibilitySetValue }

func (h *Handler) setNodeValue(ctx context.Context, in *valueIn) (toolbox.Nothing, error) {
	if err := h.installed(); err != nil {
		return toolbox.Nothing{}, err
	}
	return toolbox.Nothing{}, h.bus.SetValue(ctx, in.Body.ID, in.Body.Value)
}
