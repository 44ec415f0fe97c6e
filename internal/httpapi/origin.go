package httpapi

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/dugout-dev/dugout/internal/errs"
)

// origin is how a client reaches the server.
type origin struct {
	scheme string // http or https
	host   string // name, name:port, address, …
}

func (o origin) String() string { return o.scheme + "://" + o.host }

// parseOrigin reads scheme://host[:port], with a slash behind it at most.
func parseOrigin(s string) (origin, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || !plainHost(u.Host) {
		return origin{}, errs.New(errs.Invalid, "the public URL must be http(s)://host[:port], got %q", clip(s))
	}
	return origin{u.Scheme, u.Host}, nil
}

// originOf is the configured public URL, else the address that this client used: its Host header, and https where the
// connection is. X-Forwarded-Proto and X-Forwarded-Host count only from a trusted proxy.
func (a *API) originOf(r *http.Request) (origin, error) {
	if a.public.host != "" {
		return a.public, nil
	}
	o := origin{"http", r.Host}
	if r.TLS != nil {
		o.scheme = "https"
	}
	if a.trusted(r.RemoteAddr) {
		if p := strings.ToLower(first(r.Header.Get("X-Forwarded-Proto"))); p == "http" || p == "https" {
			o.scheme = p
		}
		if h := first(r.Header.Get("X-Forwarded-Host")); h != "" {
			o.host = h
		}
	}
	if !plainHost(o.host) {
		return origin{}, errs.New(errs.Invalid, "the Host header must be a name or an address, with a port or without, got %q", clip(o.host))
	}
	return o, nil
}

func (a *API) trusted(remote string) bool {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	for _, p := range a.cfg.TrustedProxies {
		if p.Contains(at.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// first returns the first entry of a comma-separated header: what the client itself used.
func first(list string) string {
	s, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(s)
}

// plainHost reports a host name or an address in ASCII, with a port or without. Nothing that passes can end a URL's host
// part early or smuggle another one in.
func plainHost(s string) bool {
	if s == "" || len(s) > 261 {
		return false
	}
	name, port := s, ""
	if h, p, err := net.SplitHostPort(s); err == nil {
		name, port = h, p
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' || port[0] == '+' {
			return false
		}
		if strings.Contains(name, ":") != strings.HasPrefix(s, "[") {
			return false
		}
	} else if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		name = s[1 : len(s)-1]
		if !strings.Contains(name, ":") {
			return false
		}
	} else if strings.Contains(s, ":") {
		return false
	}
	if strings.Contains(name, ":") {
		at, err := netip.ParseAddr(name)
		return err == nil && at.Is6() && at.Zone() == ""
	}
	for _, label := range strings.Split(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// places are the addresses that answers tell a client.
type places struct {
	toolbox   string // base of the toolbox API
	dashboard string
	previews  string // with {{PORT}} and {{sandboxId}}
}

// places returns the addresses to tell the client of a request. Invalid when its Host header is not one.
func (a *API) places(ctx context.Context) (places, error) {
	o, err := a.originOf(ctx.Value(callKey{}).(call).request)
	if err != nil {
		return places{}, err
	}
	p := places{toolbox: a.cfg.ToolboxURL, dashboard: a.cfg.DashboardURL}
	if p.toolbox == "" {
		p.toolbox = o.String() + "/toolbox"
	}
	if p.dashboard == "" {
		p.dashboard = o.String() + "/dashboard"
	}
	domain := a.cfg.ProxyDomain
	if domain == "" {
		domain = "proxy.localhost"
		if _, port, err := net.SplitHostPort(o.host); err == nil {
			domain = net.JoinHostPort(domain, port)
		}
	}
	p.previews = o.scheme + "://{{PORT}}-{{sandboxId}}." + domain
	return p, nil
}

// preview is the address of one port of one sandbox.
func (p places) preview(port int64, sandboxID string) string {
	return strings.NewReplacer("{{PORT}}", strconv.FormatInt(port, 10), "{{sandboxId}}", sandboxID).Replace(p.previews)
}
