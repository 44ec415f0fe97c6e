//go:build linux

// Package port serves what listens in the sandbox: which TCP ports are open, and a way in to them.
//
// The kernel's table of sockets is read when somebody asks, and never otherwise. The daemon itself listens on a unix
// socket only, so no port leads back to it.
package port

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync"

	"github.com/dugout-dev/dugout/api/toolbox"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/relay"
	"github.com/dugout-dev/dugout/internal/rest"
)

// The range that the 0.x wire lets clients ask about.
const (
	firstAsked = 3000
	lastAsked  = 9999
)

// Handler serves the routes of this package.
type Handler struct {
	Log  *slog.Logger
	Edge *rest.Edge

	mu    sync.Mutex   // guards relay
	relay *relay.Relay // nil until the first request to a port
}

// Prefix of the requests that go on to a port. What follows it is passed on as it came, so they must not go through a
// ServeMux, which would decode and clean it; see [Handler.Pass].
const Prefix = "/proxy/"

// Routes lists the operations. A nil handler will do for describing them.
func (h *Handler) Routes() []rest.Route {
	tag := rest.Tag("port")
	routes := []rest.Route{
		rest.Typed("GET", "/port", "GetPorts", h.list, tag, rest.Summary("List the TCP ports that something listens on"),
			rest.Description("IPv4 and IPv6, on any address of the sandbox.")),
		rest.Typed("GET", "/port/{port}/in-use", "IsPortInUse", h.inUse, tag, rest.Summary("Ask whether something listens on a port")),
	}
	for _, op := range [][2]string{{"GET", "ProxyGet"}, {"HEAD", "ProxyHead"}, {"POST", "ProxyPost"}, {"PUT", "ProxyPut"}, {"PATCH", "ProxyPatch"}, {"DELETE", "ProxyDelete"}, {"OPTIONS", "ProxyOptions"}} {
		routes = append(routes, rest.Stream(op[0], "/proxy/{port}/{path...}", op[1], h.described, tag, rest.MaxBody(-1), rest.Accepts("*/*"), rest.Returns("*/*"),
			rest.Summary("Send a request to a port in the sandbox"),
			rest.Description("The request goes to the port as it is, with any method, percent-encoding and query, also as a WebSocket; the Host header becomes localhost:{port}, and the one that was sent is in X-Forwarded-Host. Tried are 127.0.0.1, ::1 and then the addresses on which the port listens. Nothing there: 502.")))
	}
	return routes
}

// Close drops the connections to ports that wait for another request.
func (h *Handler) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.relay != nil {
		h.relay.Forget()
	}
}

func (h *Handler) connections() *relay.Relay {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.relay == nil {
		h.relay = relay.New(dial)
	}
	return h.relay
}

func (h *Handler) list(context.Context, *struct{}) (toolbox.PortList, error) {
	open, err := listening()
	if err != nil {
		return toolbox.PortList{}, err
	}
	return toolbox.PortList{Ports: open.ports()}, nil
}

type portIn struct {
	Port string `path:"port" doc:"A port from 3000 to 9999."`
}

func (h *Handler) inUse(_ context.Context, in *portIn) (toolbox.PortInUse, error) {
	n, err := strconv.ParseUint(in.Port, 10, 16)
	if err != nil || n < firstAsked || n > lastAsked {
		return toolbox.PortInUse{}, errs.New(errs.Invalid, "port must be a number from %d to %d, got %q", firstAsked, lastAsked, clip(in.Port))
	}
	open, err := listening()
	if err != nil {
		return toolbox.PortInUse{}, err
	}
	return toolbox.PortInUse{IsInUse: len(open[uint16(n)]) > 0}, nil
}

type passIn struct {
	Port string `path:"port" doc:"A port from 1 to 65535."`
	Path string `path:"path" doc:"Path of the request at the port."`
}

// described stands in the list of operations for what [Handler.Pass] serves.
func (h *Handler) described(w http.ResponseWriter, r *http.Request, _ *passIn) error {
	h.Pass(w, r)
	return nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
