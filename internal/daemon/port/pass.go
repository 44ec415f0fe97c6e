//go:build linux

package port

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/relay"
	"github.com/dugout-dev/dugout/internal/rest"
)

// dialTimeout is for one address. They are the sandbox's own: an answer comes at once or the queue of the listener is full.
const dialTimeout = 5 * time.Second

// Pass sends the request on to the port in its path, which must begin with [Prefix].
func (h *Handler) Pass(w http.ResponseWriter, r *http.Request) {
	number, path := split(r.URL.EscapedPath())
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 {
		h.Edge.Fail(w, r, errs.New(errs.Invalid, "port must be a number from 1 to 65535, got %q", clip(number)))
		return
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		h.Edge.Fail(w, r, errs.New(errs.Invalid, "malformed path"))
		return
	}
	port := strconv.FormatUint(n, 10)
	asked := r.Header.Get("X-Forwarded-Host")
	if asked == "" {
		asked = r.Host
	}
	on := r.Clone(r.Context())
	on.Host = "localhost:" + port
	h.connections().Serve(w, on, &relay.Target{
		Peer: port, Path: decoded, RawPath: path,
		Header: func(out http.Header) {
			// A credential that came this far is meant for the program at the port: the platform takes its own away before.
			if v, ok := r.Header["Authorization"]; ok {
				out["Authorization"] = v
			}
			out.Set("X-Forwarded-Host", asked)
			for _, k := range []string{"X-Forwarded-For", "X-Forwarded-Proto"} {
				if v, ok := r.Header[k]; ok {
					out[k] = v
				}
			}
		},
		Fail: func(w http.ResponseWriter, r *http.Request, err error) { h.refuse(w, r, port, err) },
	})
}

// split takes /proxy/{port}/path apart; the path keeps its encoding and begins with a slash.
func split(escaped string) (port, path string) {
	port, path, _ = strings.Cut(strings.TrimPrefix(escaped, Prefix), "/")
	return port, "/" + path
}

// refuse says why there is no answer, with the status that the 0.x wire has for it: 502.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, port string, err error) {
	var msg string
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		msg = "nothing listens on port " + port + " of the sandbox; start the program, let it listen on 127.0.0.1, ::1 or all addresses, and try again"
	case errors.As(err, &op) && op.Op == "dial":
		msg = "the program at port " + port + " of the sandbox takes no connections: " + reason(err)
	default:
		msg = "the program at port " + port + " of the sandbox closed the connection or did not answer in HTTP"
	}
	h.Edge.Write(w, http.StatusBadGateway, api.Error{Path: r.URL.Path, Timestamp: time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), StatusCode: http.StatusBadGateway,
		Reason: msg, Message: msg, Code: "BAD_GATEWAY", Source: api.SourceDaemon, Method: r.Method, RequestID: rest.RequestID(r.Context())})
}

func reason(err error) string {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no.Error()
	}
	return "no answer in time"
}

// dial connects to a port of the sandbox: where programs listen as a rule, and after that wherever the port listens.
func dial(ctx context.Context, port string) (net.Conn, error) {
	tried := []string{"127.0.0.1", "::1"}
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	var first error
	try := func(host string) net.Conn {
		c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		if err != nil {
			if first == nil {
				first = err
			}
			return nil
		}
		if self(c) {
			_ = c.Close()
			return nil
		}
		return c
	}
	for _, host := range tried {
		if c := try(host); c != nil {
			return c, nil
		}
	}
	open, err := listening()
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil {
		return nil, first
	}
	for _, a := range open[uint16(n)] {
		if host := a.String(); !a.IsUnspecified() && host != tried[0] && host != tried[1] {
			if c := try(host); c != nil {
				return c, nil
			}
		}
	}
	if first == nil {
		first = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return nil, first
}

// self reports whether the connection goes to itself: the kernel does that when it happens to choose the port that is
// asked for, where nothing listens, as the local one.
func self(c net.Conn) bool { return c.LocalAddr().String() == c.RemoteAddr().String() }
