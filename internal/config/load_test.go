package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dugout-dev/dugout/internal/config"
	"github.com/dugout-dev/dugout/internal/errs"
)

// load reads a configuration from nothing but what is given.
func load(t *testing.T, file string, env, flags map[string]string) (*config.Effective, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(config.Input{File: path, Flags: flags,
		LookupEnv: func(k string) (string, bool) { v, ok := env[k]; return v, ok },
		Environ: func() []string {
			var out []string
			for k, v := range env {
				out = append(out, k+"="+v)
			}
			return out
		}})
}

func TestPrecedence(t *testing.T) {
	const key = "server.listen"
	file, env, flag := "server:\n  listen: 127.0.0.1:1\n", map[string]string{"DUGOUT_LISTEN": "127.0.0.1:2"}, map[string]string{"listen": "127.0.0.1:3"}
	for _, c := range []struct {
		name         string
		file         string
		env, flags   map[string]string
		want, source string
	}{
		{"default", "", nil, nil, "127.0.0.1:3986", "default"},
		{"file", file, nil, nil, "127.0.0.1:1", "file "},
		{"environment over file", file, env, nil, "127.0.0.1:2", "environment DUGOUT_LISTEN"},
		{"flag over all", file, env, flag, "127.0.0.1:3", "flag --listen"},
		{"flag over default", "", nil, flag, "127.0.0.1:3", "flag --listen"},
		{"an empty variable is none", file, map[string]string{"DUGOUT_LISTEN": ""}, nil, "127.0.0.1:1", "file "},
		{"a null is none", "server:\n  listen:\n", nil, nil, "127.0.0.1:3986", "default"},
		{"an empty section", "server:\n", nil, nil, "127.0.0.1:3986", "default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			eff, err := load(t, c.file, c.env, c.flags)
			if err != nil {
				t.Fatal(err)
			}
			if eff.Config.Server.Listen != c.want {
				t.Errorf("listen %q, want %q", eff.Config.Server.Listen, c.want)
			}
			for _, v := range eff.Values {
				if v.Setting.Key == key && (v.Text != c.want || !strings.HasPrefix(v.Source, c.source)) {
					t.Errorf("shown as %q from %q", v.Text, v.Source)
				}
			}
		})
	}
}

func TestEverySettingInAFile(t *testing.T) {
	eff, err := load(t, `
data_dir: /srv/dugout
log: {level: debug, format: json}
server:
  listen: ":80"
  public_url: https://dugout.example.org
  proxy_domain: preview.example.org
  trusted_proxies: [10.0.0.0/8]
  database_url: postgres://u:canary@db/dugout
  admin_api_key: dtn_canary-canary
  region_id: eu
  region_name: Europe
  default_snapshot: tiny
runner:
  engine: oci
  runc_path: /opt/runc
  run_dir: /run/d
  pids_limit: 64
  open_files: 128
  disk_pool_size: 40GiB
  dns: [9.9.9.9, "[2620:fe::fe]:5353"]
  allow_private: [10.1.0.0/16, 192.168.1.1/32]
  network_subnet: 10.200.0.0/18
  ready_slots: 0
  max_sandboxes: 7
  otel_endpoint: http://10.1.2.3:4318
limits:
  max_cpu_per_sandbox: 2
  max_memory_per_sandbox: 3
  max_disk_per_sandbox: 4
  total_sandboxes: 5
  total_cpu: 6
  total_memory: 7
  total_disk: 8
`, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{DataDir: "/srv/dugout", Log: config.Log{Level: "debug", Format: "json"},
		Server: config.Server{Listen: ":80", PublicURL: "https://dugout.example.org", ProxyDomain: "preview.example.org",
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, DatabaseURL: "postgres://u:canary@db/dugout",
			AdminAPIKey: "dtn_canary-canary", RegionID: "eu", RegionName: "Europe", DefaultSnapshot: "tiny"},
		Runner: config.Runner{Engine: "oci", RuncPath: "/opt/runc", RunDir: "/run/d", Pids: 64, OpenFiles: 128, DiskPoolSize: 40 << 30,
			DNS:          []config.Resolver{config.Resolver(netip.MustParseAddrPort("9.9.9.9:53")), config.Resolver(netip.MustParseAddrPort("[2620:fe::fe]:5353"))},
			AllowPrivate: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("192.168.1.1/32")}, NetworkSubnet: "10.200.0.0/18",
			OTelEndpoint: "http://10.1.2.3:4318", MaxSandboxes: 7},
		Limits: config.Limits{MaxCPU: 2, MaxMemoryGiB: 3, MaxDiskGiB: 4, TotalSandboxes: 5, TotalCPU: 6, TotalMemoryGiB: 7, TotalDiskGiB: 8}}
	if diff := cmp.Diff(want, eff.Config, cmpopts.EquateComparable(netip.Prefix{}, config.Resolver{})); diff != "" {
		t.Error(diff)
	}
	for _, v := range eff.Values {
		if v.Source == "default" {
			t.Errorf("%s was not set by the file", v.Setting.Key)
		}
		if strings.Contains(v.Text, "canary") {
			t.Errorf("%s shows a secret: %s", v.Setting.Key, v.Text)
		}
	}
}

func TestEverySettingFromText(t *testing.T) {
	// What is shown can be read back, and by every other way in gives the same.
	first, err := load(t, "runner: {dns: [9.9.9.9], disk_pool_size: 1500MB, allow_private: [10.0.0.0/8]}\nserver: {trusted_proxies: [10.0.0.0/8, fd00::/8]}", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	env, flags := map[string]string{}, map[string]string{}
	for _, v := range first.Values {
		if v.Text == "" {
			continue
		}
		env[v.Setting.Env] = v.Text
		if v.Setting.Flag != "" {
			flags[v.Setting.Flag] = v.Text
		}
	}
	for name, in := range map[string][2]map[string]string{"environment": {env, nil}, "flags": {nil, flags}} {
		again, err := load(t, "", in[0], in[1])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(first.Config, again.Config, cmpopts.EquateComparable(netip.Prefix{}, config.Resolver{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if len(again.Warnings) > 0 {
			t.Errorf("%s: %v", name, again.Warnings)
		}
	}
}

func TestSettingsAreDistinct(t *testing.T) {
	seen := map[string]string{}
	for _, s := range config.Settings() {
		if s.Doc == "" {
			t.Errorf("%s has no description", s.Key)
		}
		for _, name := range []string{s.Key, s.Env, s.Flag} {
			if other, twice := seen[name]; twice && name != "" {
				t.Errorf("%s and %s are both %s", s.Key, other, name)
			}
			seen[name] = s.Key
		}
		if s.Secret && s.Flag != "" {
			t.Errorf("the secret %s could be given on the command line, where every user of the host reads it", s.Key)
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		name, file string
		env        map[string]string
		want       string
	}{
		{name: "unknown key", file: "server:\n  lisen: x", want: `line 2: unknown setting "server.lisen"; did you mean "server.listen"?`},
		{name: "forgotten section", file: "listen: :1", want: `unknown setting "listen"; did you mean "server.listen"?`},
		{name: "unknown section", file: "servers:\n  a: b", want: `unknown setting "servers"`},
		{name: "section as value", file: "server: 1", want: "server must be a mapping"},
		{name: "value as section", file: "data_dir: {a: b}", want: "data_dir must be a plain value"},
		{name: "not a mapping", file: "- a", want: "the file must be a mapping"},
		{name: "not YAML", file: "a: [", want: "is not valid YAML"},
		{name: "twice", file: "server: {listen: ':1'}\nserver: {listen: ':2'}", want: "set twice"},
		{name: "list for a value", file: "server: {listen: [':1', ':2']}", want: "must be one value, got a list of 2"},
		{name: "enum", file: "log: {level: loud}", want: `log.level (file `},
		{name: "number", env: map[string]string{"DUGOUT_PIDS_LIMIT": "many"}, want: `runner.pids_limit (environment DUGOUT_PIDS_LIMIT): must be a whole number of at least 16 and at most 4194304, got "many"`},
		{name: "range", env: map[string]string{"DUGOUT_TOTAL_CPU": "-1"}, want: "must be a whole number of at least 0, got"},
		{name: "size", env: map[string]string{"DUGOUT_DISK_POOL_SIZE": "big"}, want: `must be a size such as 40GiB or 500MB, got "big"`},
		{name: "resolver", env: map[string]string{"DUGOUT_DNS": "dns.example"}, want: `must be an IP address, with a port where it is not 53, got "dns.example"`},
		{name: "network", env: map[string]string{"DUGOUT_ALLOW_PRIVATE": "10.0.0.0/8,lan"}, want: `must be a network such as 10.1.0.0/16, got "lan"`},
		{name: "listen", env: map[string]string{"DUGOUT_LISTEN": "3986"}, want: "server.listen must be an address and a port"},
		{name: "relative directory", env: map[string]string{"DUGOUT_DATA": "data"}, want: `data_dir must be an absolute path, got "data"`},
		{name: "public URL", env: map[string]string{"DUGOUT_PUBLIC_URL": "example.org/api"}, want: "server.public_url must look like"},
		{name: "proxy domain", env: map[string]string{"DUGOUT_PROXY_DOMAIN": "https://x"}, want: "server.proxy_domain must be a host name"},
		{name: "subnet", env: map[string]string{"DUGOUT_NETWORK_SUBNET": "10.200.0.1/18"}, want: "runner.network_subnet must be an IPv4 network"},
		{name: "subnet of IPv6", env: map[string]string{"DUGOUT_NETWORK_SUBNET": "fd00::/48"}, want: "runner.network_subnet must be an IPv4 network"},
		{name: "short key", env: map[string]string{"DUGOUT_ADMIN_API_KEY": "canary"}, want: "an API key has 16 to 512 characters, this one has 6"},
		{name: "spaced key", env: map[string]string{"DUGOUT_ADMIN_API_KEY": "canary canary canary"}, want: "without spaces"},
		{name: "database", env: map[string]string{"DUGOUT_DATABASE_URL": "mysql://u:canary@h/d"}, want: "server.database_url must start with"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.file, c.env, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || !errs.Is(err, errs.Invalid) {
				t.Errorf("error %v, want %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	if _, err := config.Load(config.Input{File: "/nowhere/c.yaml", LookupEnv: none}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("a named file that is missing: %v", err)
	}
	if _, err := os.Stat(config.DefaultFile); err != nil {
		eff, err := config.Load(config.Input{LookupEnv: none})
		if err != nil || eff.File != "" {
			t.Errorf("no file at all: %+v, %v", eff, err)
		}
	}
}

func TestWarnsOfVariablesThatNothingReads(t *testing.T) {
	eff, err := load(t, "", map[string]string{"DUGOUT_LISTN": "x", "DUGOUT_API_KEY": "y", "DUGOUT_API_URL": "z", "DUGOUT_QQQQQQQ": "", "OTHER": ""}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`the variable DUGOUT_LISTN is not a setting and is ignored; did you mean "DUGOUT_LISTEN"?`, "the variable DUGOUT_QQQQQQQ is not a setting and is ignored"}
	if diff := cmp.Diff(want, eff.Warnings); diff != "" {
		t.Error(diff)
	}
}

func TestSecretsStaySecret(t *testing.T) {
	c := config.Default()
	c.Server.AdminAPIKey, c.Server.DatabaseURL = "canary", "postgres://canary:canary@db:5432/dugout?password=canary"
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "config", c, "key", c.Server.AdminAPIKey, "url", c.Server.DatabaseURL)
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%q", c.Server.AdminAPIKey), string(asJSON), logged.String()} {
		if strings.Contains(s, "canary") {
			t.Errorf("the secret shows in %s", s)
		}
	}
	if got := c.Server.DatabaseURL.String(); got != "postgres://db:5432/dugout" {
		t.Error(got)
	}
	if c.Server.AdminAPIKey.Reveal() != "canary" {
		t.Error("Reveal does not reveal")
	}
}

func TestFill(t *testing.T) {
	eff, err := load(t, "", map[string]string{"DUGOUT_DATA": "/d", "DUGOUT_LISTEN": ":80", "DUGOUT_REGION_ID": "eu"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{eff.Config.Server.DatabaseURL.Reveal(), eff.Config.Server.RegionName, eff.Config.Server.ProxyDomain}
	if diff := cmp.Diff([]string{"sqlite:/d/dugout.db", "eu", "proxy.localhost:80"}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzFile(f *testing.F) {
	f.Add("server:\n  listen: :1\n")
	f.Add("runner: {dns: [9.9.9.9, a], disk_pool_size: 9999999999999TiB}")
	f.Add("a: &a [*a]")
	f.Add("? [x]\n: y")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		eff, err := config.Load(config.Input{File: path, LookupEnv: func(string) (string, bool) { return "", false }, Environ: func() []string { return nil }})
		if (eff == nil) == (err == nil) {
			t.Errorf("result %v with error %v", eff, err)
		}
		if _, ok := errs.As(err); err != nil && !ok {
			t.Errorf("unclassified: %v", err)
		}
	})
}
