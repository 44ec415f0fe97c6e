// Package dugout is the Go client of Dugout: sandboxes, the commands that run in them and their files.
//
//	client, err := dugout.New(dugout.Options{})
//	sandbox, err := client.Create(ctx, dugout.CreateOptions{})
//	result, err := sandbox.Exec(ctx, "echo hello", dugout.ExecOptions{})
//	fmt.Print(result.Output)
//	err = sandbox.Delete(ctx)
//
// It speaks the 0.x wire and works with every server of that wire; where a server knows Dugout's additions it uses them: a
// create that is repeated after a lost connection makes one sandbox, and a command whose connection broke is found again
// with its output and exit code.
//
// A Client and a Sandbox may be used by many goroutines at once. All methods end when their context does; apart from that
// nothing has a time limit.
package dugout

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Version of this client, sent with every request.
const Version = "0.1.0"

// DefaultAPIURL is where a local installation answers unless it was told otherwise.
const DefaultAPIURL = "http://127.0.0.1:3986/api"

// DefaultDataDir is the data directory of a local installation unless it was told otherwise.
const DefaultDataDir = "/var/lib/dugout"

// Options say which server to talk to and as whom.
type Options struct {
	APIURL string // with the path, e.g. https://dugout.example.org/api
	APIKey string
	// HTTPClient replaces the client's own. Its Timeout must be 0: a command or a download may take as long as it likes.
	HTTPClient *http.Client
	// UserAgent goes before the client's own in the User-Agent header.
	UserAgent string
}

// Client talks to one server with one API key. Make it with [New].
type Client struct {
	apiURL    string // no slash at the end
	apiKey    string
	http      *http.Client
	userAgent string
}

// New returns a client. What opts leave empty comes from the environment: from DUGOUT_API_URL and DUGOUT_API_KEY, or else
// from DAYTONA_API_URL and DAYTONA_API_KEY. The two pairs are never mixed, so that no key reaches the server of the other
// pair. The URL defaults to [DefaultAPIURL]. New does not look at a local installation's own key; [Local] does.
func New(opts Options) (*Client, error) {
	if opts.APIURL == "" || opts.APIKey == "" {
		env := fromEnv()
		switch {
		case opts.APIURL == "" && opts.APIKey == "":
			opts.APIURL, opts.APIKey = env.APIURL, env.APIKey
		case opts.APIURL == "":
			opts.APIURL = env.APIURL
		case env.APIURL == "" || sameServer(env.APIURL, opts.APIURL):
			opts.APIKey = env.APIKey // a key that goes with another URL stays where it is
		}
	}
	if opts.APIURL == "" {
		opts.APIURL = DefaultAPIURL
	}
	if opts.APIKey == "" {
		return nil, fmt.Errorf("%w for %s: set DUGOUT_API_KEY", ErrNoKey, opts.APIURL)
	}
	u, err := url.Parse(opts.APIURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("the API URL must look like http://host:port/api, got %q", opts.APIURL)
	}
	if strings.ContainsFunc(opts.APIKey, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the API key holds a space, a control character or one that is not ASCII")
	}
	c := &Client{apiURL: strings.TrimRight(opts.APIURL, "/"), apiKey: opts.APIKey, http: opts.HTTPClient,
		userAgent: strings.TrimSpace(opts.UserAgent + " dugout-go/" + Version)}
	if c.http == nil {
		c.http = &http.Client{Transport: transport()}
	}
	return c, nil
}

// ErrNoKey says that no API key was given and none was found.
var ErrNoKey = errors.New("no API key")

// APIURL returns where the client sends its requests.
func (c *Client) APIURL() string { return c.apiURL }

func fromEnv() Options {
	for _, p := range []string{"DUGOUT_", "DAYTONA_"} {
		o := Options{APIURL: os.Getenv(p + "API_URL"), APIKey: os.Getenv(p + "API_KEY")}
		if o.APIURL != "" || o.APIKey != "" {
			return o
		}
	}
	return Options{}
}

func sameServer(a, b string) bool {
	ua, erra := url.Parse(a)
	ub, errb := url.Parse(b)
	return erra == nil && errb == nil && ua.Scheme == ub.Scheme && ua.Host == ub.Host
}

// Local returns the options for the installation on this host whose data directory is dir (empty: [DefaultDataDir]): its
// administrator's key, which only the user who runs the server and root can read, and the URL it answers on.
func Local(dir string) (Options, error) {
	dir = cmp.Or(dir, DefaultDataDir)
	key, err := readSmall(filepath.Join(dir, "admin.key"))
	if err != nil {
		return Options{}, fmt.Errorf("%w of a local installation: %w", ErrNoKey, err)
	}
	apiURL, err := readSmall(filepath.Join(dir, "api.url"))
	if errors.Is(err, fs.ErrNotExist) {
		apiURL, err = DefaultAPIURL, nil
	}
	return Options{APIURL: apiURL, APIKey: key}, err
}

func readSmall(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	return strings.TrimSpace(string(b)), err
}

// transport has larger buffers than the default one, which make uploads and downloads several times faster, and leaves
// compression alone, since most of what travels is files.
func transport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true,
		MaxIdleConns:          64,
		MaxIdleConnsPerHost:   32,
		IdleConnTimeout:       60 * time.Second, // below the server's 70, so that a request never meets a closing connection
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		WriteBufferSize:       256 << 10,
		ReadBufferSize:        64 << 10,
	}
}
