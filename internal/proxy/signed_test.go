package proxy_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/dugout-dev/dugout/internal/proxy"
)

func signedQuery(method, path, expires string) string {
	mac := hmac.New(sha256.New, []byte("dgs_secret"))
	_, _ = io.WriteString(mac, "v1:files:"+method+":"+path+":"+expires)
	return url.Values{"path": {path}, "expires": {expires}, "signature": {"v1_" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))}}.Encode()
}

func TestSignedURLs(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer runner-key" {
			t.Errorf("the runner got %q", req.Header.Get("Authorization"))
		}
		if c := req.Header["Cookie"]; c != nil {
			t.Errorf("the runner got the cookies %q", c)
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, req.Method+" "+strings.TrimPrefix(req.RequestURI, "/"))
	})
	get, post := signedQuery("GET", "/a b&c=é", "0"), signedQuery("POST", "/up", "0")
	arrivesGet, arrivesPost := "GET "+r.up[1:]+"/files/download?path=%2Fa+b%26c%3D%C3%A9", "POST "+r.up[1:]+"/files/upload-v2?path=%2Fup"
	for _, tc := range []struct {
		name, method, at string
		header           []string
		status           int
		arrives          string
	}{
		{name: "download", method: "GET", at: "/files/download?" + get, status: 200, arrives: arrivesGet},
		{name: "upload", method: "POST", at: "/files/upload-v2?" + post, status: 200, arrives: arrivesPost},
		{name: "anything else in the query is dropped", method: "GET", at: "/files/download?" + get + "&path[]=%2Fetc&x=1", status: 200, arrives: arrivesGet},
		{name: "own key besides", method: "GET", at: "/files/download?" + get, header: []string{key, mine}, status: 200, arrives: arrivesGet},
		{name: "own key and an old signature", method: "GET", at: "/files/download?" + signedQuery("GET", "/x", "1"), header: []string{key, mine}, status: 200, arrives: "GET " + r.up[1:] + "/files/download?path=%2Fx"},
		{name: "a bearer that is no key", method: "GET", at: "/files/download?" + get, header: []string{key, "Bearer of-the-app"}, status: 200, arrives: arrivesGet},
		{name: "two paths", method: "GET", at: "/files/download?" + get + "&path=%2Fetc%2Fpasswd", status: 401},
		{name: "another path first", method: "GET", at: "/files/download?path=%2Fetc%2Fpasswd&" + get, status: 401},
		{name: "two signatures", method: "GET", at: "/files/download?" + get + "&signature=x", status: 401},
		{name: "no expiry", method: "GET", at: "/files/download?path=%2Fa&signature=v1_x", status: 401},
		{name: "malformed query", method: "GET", at: "/files/download?" + get + "&a=%zz", status: 401},
		{name: "semicolon", method: "GET", at: "/files/download?" + get + ";a=b", status: 401},
		{name: "expired", method: "GET", at: "/files/download?" + signedQuery("GET", "/x", "1"), status: 401},
		{name: "method", method: "POST", at: "/files/upload-v2?" + signedQuery("GET", "/x", "0"), status: 401},
		{name: "head", method: "HEAD", at: "/files/download?" + get, status: 401},
		{name: "delete", method: "DELETE", at: "/files?" + signedQuery("DELETE", "/x", "0"), status: 401},
		{name: "another operation", method: "POST", at: "/files/upload?" + post, status: 401},
		{name: "listing", method: "GET", at: "/files?" + get, status: 401},
		{name: "encoded route", method: "GET", at: "/files%2Fdownload?" + get, status: 401},
		{name: "below", method: "GET", at: "/files/download/?" + get, status: 401},
		{name: "execute", method: "POST", at: "/process/execute?" + post, status: 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, body := do(t, tc.method, r.base+tc.at, nil, tc.header...)
			if res.StatusCode != tc.status {
				t.Fatalf("%d %s", res.StatusCode, body)
			}
			if tc.status == 200 && string(body) != tc.arrives {
				t.Errorf("arrived as %q, want %q", body, tc.arrives)
			}
			if strings.Contains(string(body), "v1_") && tc.status != 200 {
				t.Errorf("the answer repeats the signature: %s", body)
			}
		})
	}
	// What the sandbox says is never a page of this origin.
	res, _ := do(t, "GET", r.base+"/files/download?"+get, nil)
	for h, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'", "Content-Disposition": "attachment", "Referrer-Policy": "no-referrer"} {
		if got := res.Header.Get(h); got != want {
			t.Errorf("%s: %q", h, got)
		}
	}
	// Also where the address has a name and a password in it, which a browser sends as Authorization.
	res, _ = do(t, "GET", r.base+"/files/download?"+get, nil, key, "Basic eDp5", "Cookie", "of=another-port")
	if res.Header.Get("Content-Security-Policy") == "" || res.Header.Get("Content-Disposition") != "attachment" {
		t.Errorf("with Basic it is a page: %v", res.Header)
	}
	r2 := newRig(t, func(http.ResponseWriter, *http.Request) { t.Error("reached the runner") })
	r2.box.Running, r2.box.State = false, "stopped"
	if res, body := do(t, "GET", r2.base+"/files/download?"+get, nil); res.StatusCode != 400 || source(body) != "DAYTONA_PROXY" {
		t.Errorf("stopped: %d %s", res.StatusCode, body)
	}
}

func FuzzSignedQuery(f *testing.F) {
	f.Add("GET", "/files/download", "path=%2Fa&expires=0&signature=v1_x")
	f.Add("POST", "/files/upload-v2", "path=a&path=b&expires=0&signature=x")
	f.Add("GET", "/files/download", "signature=%zz;&path")
	f.Add("GET", "/files/download", "a=signature")
	f.Fuzz(func(t *testing.T, method, path, raw string) {
		sig, query, signed := proxy.Signature(method, path, raw)
		if !signed {
			if query != raw || sig.Proof != "" {
				t.Errorf("changed without a signature: %q", query)
			}
			return
		}
		if sig.Proof == "" && sig.Path == "" && query == "" {
			return // matches nothing
		}
		v, err := url.ParseQuery(query)
		if err != nil || len(v) != 1 || len(v["path"]) != 1 || v.Get("path") != sig.Path {
			t.Errorf("%q goes on as %q", raw, query)
		}
	})
}
