// Package config is what an operator can set: one struct per role, the defaults, and how they are read. A value comes from
// the first of: a command line flag, a DUGOUT_* variable of the environment, the YAML file, the default in [Default].
//
// A key nobody knows is an error, because a misspelt setting that is silently ignored is a setting that does not hold.
package config

import (
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/dugout-dev/dugout/internal/errs"
)

// DefaultFile is read when neither --config nor DUGOUT_CONFIG names a file; it need not exist.
const DefaultFile = "/etc/dugout/config.yaml"

// Config is everything. The tag flag names a setting: --listen, DUGOUT_LISTEN; the tag key its place in the YAML file.
type Config struct {
	DataDir string `key:"data_dir" flag:"data" doc:"Where everything is kept: database, images, sandboxes, the admin key."`
	Log     Log    `key:"log"`
	Server  Server `key:"server"`
	Runner  Runner `key:"runner"`
	Limits  Limits `key:"limits"`
}

// Log says what is logged.
type Log struct {
	Level  string `key:"level" flag:"log-level" enum:"debug,info,warn,error" doc:"Least severe level that is logged."`
	Format string `key:"format" flag:"log-format" enum:"text,json" doc:"One line of key=value or one JSON object per event."`
}

// Server is the control plane: API, proxy and what they stand on.
type Server struct {
	Listen          string         `key:"listen" flag:"listen" doc:"Address and port of the API and the toolbox proxy."`
	PublicURL       string         `key:"public_url" flag:"public-url" doc:"How clients reach the server from outside, e.g. https://dugout.example.org. Empty: taken from each request."`
	ProxyDomain     string         `key:"proxy_domain" flag:"proxy-domain" doc:"Domain, with port where needed, of preview URLs: <port>-<sandbox>.<domain>. Empty: proxy.localhost and the port of listen."`
	TrustedProxies  []netip.Prefix `key:"trusted_proxies" flag:"trusted-proxies" doc:"Networks whose X-Forwarded-* headers are believed."`
	DatabaseURL     DatabaseURL    `key:"database_url" flag:"database-url" doc:"sqlite:PATH or postgres://... Empty: SQLite in the data directory."`
	AdminAPIKey     Secret         `key:"admin_api_key" flag:"admin-api-key" noflag:"true" doc:"API key of the administrator. Empty: the one in DIR/admin.key, made at the first start."`
	RegionID        string         `key:"region_id" flag:"region-id" doc:"Id of the region this server brings along."`
	RegionName      string         `key:"region_name" flag:"region-name" doc:"Its name. Empty: the id."`
	DefaultSnapshot string         `key:"default_snapshot" flag:"default-snapshot" doc:"Snapshot of a sandbox that names none."`
}

// Runner is the host agent.
type Runner struct {
	Engine        string         `key:"engine" flag:"engine" enum:"oci" doc:"What runs sandboxes."`
	RuncPath      string         `key:"runc_path" flag:"runc-path" doc:"The runc binary. Empty: DIR/bin/runc, else the first one in PATH."`
	RunDir        string         `key:"run_dir" flag:"run-dir" doc:"Sockets and other things that a reboot may forget; a tmpfs."`
	Pids          int64          `key:"pids_limit" flag:"pids-limit" min:"16" max:"4194304" doc:"Processes and threads a sandbox may have."`
	OpenFiles     int64          `key:"open_files" flag:"open-files" min:"64" max:"1048576" doc:"Files a process in a sandbox may hold open."`
	DiskPoolSize  Bytes          `key:"disk_pool_size" flag:"disk-pool-size" doc:"Size of the disk pool that all sandboxes share, e.g. 40GiB. 0: chosen from the free space."`
	DNS           []Resolver     `key:"dns" flag:"dns" doc:"Name servers that sandboxes use through the host. Empty: the host's."`
	AllowPrivate  []netip.Prefix `key:"allow_private" flag:"allow-private" doc:"Private networks that sandboxes may reach; none by default."`
	NetworkSubnet string         `key:"network_subnet" flag:"network-subnet" doc:"IPv4 network sandboxes get their addresses from, e.g. 10.200.0.0/18. Empty: a free one."`
	ReadySlots    int64          `key:"ready_slots" flag:"ready-slots" min:"0" max:"256" doc:"Networks kept ready for the next sandboxes."`
	OTelEndpoint  string         `key:"otel_endpoint" flag:"otel-endpoint" doc:"OTLP/HTTP collector that sandboxes send their metrics, spans and logs to, reached from inside them; a sandbox's own DAYTONA_OTEL_ENDPOINT wins. Empty: none."`
	MaxSandboxes  int64          `key:"max_sandboxes" flag:"max-sandboxes" min:"1" max:"100000" doc:"Sandboxes this runner holds at most."`
}

// Limits are what an organization gets that has no limits of its own. Totals of 0 mean no limit.
type Limits struct {
	MaxCPU         int64 `key:"max_cpu_per_sandbox" flag:"max-cpu-per-sandbox" min:"1" max:"1024" doc:"Cores of one sandbox."`
	MaxMemoryGiB   int64 `key:"max_memory_per_sandbox" flag:"max-memory-per-sandbox" min:"1" max:"65536" doc:"Memory of one sandbox, GiB."`
	MaxDiskGiB     int64 `key:"max_disk_per_sandbox" flag:"max-disk-per-sandbox" min:"1" max:"1048576" doc:"Disk of one sandbox, GiB."`
	TotalSandboxes int64 `key:"total_sandboxes" flag:"total-sandboxes" min:"0" doc:"Sandboxes of an organization, stopped ones too."`
	TotalCPU       int64 `key:"total_cpu" flag:"total-cpu" min:"0" doc:"Cores of all running sandboxes of an organization."`
	TotalMemoryGiB int64 `key:"total_memory" flag:"total-memory" min:"0" doc:"Memory of all its running sandboxes, GiB."`
	TotalDiskGiB   int64 `key:"total_disk" flag:"total-disk" min:"0" doc:"Disk of all its sandboxes, stopped ones too, GiB."`
}

// Default is the configuration of an installation nobody configured.
func Default() Config {
	return Config{
		DataDir: "/var/lib/dugout",
		Log:     Log{Level: "info", Format: "text"},
		Server:  Server{Listen: "127.0.0.1:3986", RegionID: "us", DefaultSnapshot: "base"},
		Runner:  Runner{Engine: "oci", RunDir: "/run/dugout", Pids: 1024, OpenFiles: 65536, ReadySlots: 4, MaxSandboxes: 1000},
		Limits:  Limits{MaxCPU: 4, MaxMemoryGiB: 8, MaxDiskGiB: 10},
	}
}

// Fill sets what follows from other settings where nothing was set. Load calls it; who starts from Default calls it too.
func (c *Config) Fill() {
	if c.Server.DatabaseURL == "" {
		c.Server.DatabaseURL = DatabaseURL("sqlite:" + filepath.Join(c.DataDir, "dugout.db"))
	}
	if c.Server.RegionName == "" {
		c.Server.RegionName = c.Server.RegionID
	}
	if c.Server.ProxyDomain == "" {
		_, port, err := net.SplitHostPort(c.Server.Listen)
		if err == nil && port != "0" { // the kernel has not chosen the port yet
			c.Server.ProxyDomain = net.JoinHostPort("proxy.localhost", port)
		}
	}
}

// Validate checks what a single value cannot show. Load calls it.
func (c Config) Validate() error {
	if !filepath.IsAbs(c.DataDir) {
		return errs.New(errs.Invalid, "data_dir must be an absolute path, got %q", c.DataDir)
	}
	if !filepath.IsAbs(c.Runner.RunDir) {
		return errs.New(errs.Invalid, "runner.run_dir must be an absolute path, got %q", c.Runner.RunDir)
	}
	if err := checkListen(c.Server.Listen); err != nil {
		return err
	}
	if u := c.Server.PublicURL; u != "" {
		p, err := url.Parse(u)
		if err != nil || p.Scheme != "http" && p.Scheme != "https" || p.Host == "" || p.User != nil || p.RawQuery != "" || p.Fragment != "" || p.Path != "" && p.Path != "/" {
			return errs.New(errs.Invalid, "server.public_url must look like https://host or http://host:port without a path, got %q", u)
		}
	}
	if e := c.Runner.OTelEndpoint; e != "" && !strings.HasPrefix(e, "http://") && !strings.HasPrefix(e, "https://") {
		return errs.New(errs.Invalid, "runner.otel_endpoint must be an http or https URL, got %q", e)
	}
	if d := c.Server.ProxyDomain; d != "" && strings.ContainsAny(d, "/@?# \t\r\n") {
		return errs.New(errs.Invalid, "server.proxy_domain must be a host name, with a port where needed, got %q", d)
	}
	if d := c.Server.DatabaseURL.Reveal(); d != "" && !hasScheme(d, "sqlite:", "postgres://", "postgresql://") {
		return errs.New(errs.Invalid, "server.database_url must start with sqlite:, postgres:// or postgresql://") // the value may hold a password
	}
	if k := c.Server.AdminAPIKey.Reveal(); k != "" {
		if err := checkKey(k); err != nil {
			return errs.New(errs.Invalid, "server.admin_api_key: %v", err)
		}
	}
	if c.Server.RegionID == "" || c.Server.DefaultSnapshot == "" {
		return errs.New(errs.Invalid, "server.region_id and server.default_snapshot must not be empty")
	}
	if s := c.Runner.NetworkSubnet; s != "" {
		p, err := netip.ParsePrefix(s)
		if err != nil || !p.Addr().Is4() || p.Bits() > 28 || p.Masked() != p {
			return errs.New(errs.Invalid, "runner.network_subnet must be an IPv4 network of at least 16 addresses such as 10.200.0.0/18, got %q", s)
		}
	}
	return nil
}

func hasScheme(s string, schemes ...string) bool {
	for _, p := range schemes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}
