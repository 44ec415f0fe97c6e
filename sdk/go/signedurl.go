package dugout

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// DownloadURL returns a URL that downloads one file with any HTTP client, without a key, while the sandbox runs. It ends after
// ttl; 0 is never. path is taken as it is: a relative one counts from the working directory.
func (s *Sandbox) DownloadURL(ctx context.Context, path string, ttl time.Duration) (string, error) {
	return s.signedURL(ctx, "GET", "/files/download", path, ttl)
}

// UploadURL returns a URL that writes one file when something is posted to it, as the body or as the field file of a form. See
// [Sandbox.DownloadURL].
func (s *Sandbox) UploadURL(ctx context.Context, path string, ttl time.Duration) (string, error) {
	return s.signedURL(ctx, "POST", "/files/upload-v2", path, ttl)
}

// RotateSigningKey ends every URL that was made for the sandbox before.
func (s *Sandbox) RotateSigningKey(ctx context.Context) error {
	return s.client.call(ctx, request{method: "POST", url: s.client.apiURL + "/sandbox/" + url.PathEscape(s.ID) + "/signing-key/rotate"}, nil)
}

func (s *Sandbox) signedURL(ctx context.Context, method, operation, path string, ttl time.Duration) (string, error) {
	base, err := s.toolbox(ctx)
	if err != nil {
		return "", err
	}
	resp, err := s.client.send(ctx, request{method: "GET", url: s.client.apiURL + "/sandbox/" + url.PathEscape(s.ID) + "/signing-key"})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	const longest = 4096
	key, err := io.ReadAll(io.LimitReader(resp.Body, longest))
	if err != nil {
		return "", &connectionError{op: "the answer was cut off", cause: err}
	}
	expires := "0"
	if ttl > 0 {
		expires = strconv.FormatInt(time.Now().Add(ttl).Unix(), 10)
	}
	mac := hmac.New(sha256.New, key)
	_, _ = io.WriteString(mac, strings.Join([]string{"v1", "files", method, path, expires}, ":"))
	q := url.Values{"path": {path}, "expires": {expires}, "signature": {"v1_" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))}}
	return base + operation + "?" + q.Encode(), nil
}
