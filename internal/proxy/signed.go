package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/dugout-dev/dugout/internal/route"
)

// signable are the requests that a signed URL may open without a bearer, on the 0.x wire.
var signable = map[string]string{"/files/download": http.MethodGet, "/files/upload-v2": http.MethodPost}

// signature takes the signature of a file URL out of a request. What goes on to the sandbox is the path alone, written anew:
// nobody there can read it in another way than it was signed. signed is false for a request that carries none.
func signature(method, path, rawQuery string) (sig route.Signature, query string, signed bool) {
	if signable[path] != method || !strings.Contains(rawQuery, "signature") {
		return sig, rawQuery, false
	}
	values, err := url.ParseQuery(rawQuery)
	if len(values["signature"]) == 0 {
		return sig, rawQuery, false
	}
	if err != nil || len(values["signature"]) != 1 || len(values["path"]) != 1 || len(values["expires"]) != 1 {
		return route.Signature{}, "", true // matches nothing
	}
	sig = route.Signature{Method: method, Path: values.Get("path"), Expires: values.Get("expires"), Proof: values.Get("signature")}
	return sig, "path=" + url.QueryEscape(sig.Path), true
}

// inert makes an answer something to save, never a page: the sandbox decides what is in it, and the URL may be opened in a
// browser that also knows the dashboard.
func inert(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Referrer-Policy", "no-referrer") // the URL is a secret
	if d := h.Get("Content-Disposition"); h.Get("Content-Type") != "" && !strings.HasPrefix(strings.ToLower(d), "attachment") {
		h.Set("Content-Disposition", "attachment")
	}
}
