package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkGet is one authenticated read with its database query; BenchmarkRefused is the same without
// a credential: what the edge itself costs.
func BenchmarkGet(b *testing.B)     { benchmark(b, "Bearer "+adminKey, 200) }
func BenchmarkRefused(b *testing.B) { benchmark(b, "", 401) }

func benchmark(b *testing.B, credential string, want int) {
	w := newWorld(b)
	s := w.create("")
	h := w.api.Handler()
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodGet, "/api/sandbox/"+s.ID, nil)
		r.Header.Set("Authorization", credential)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != want {
			b.Fatalf("%d %s", rec.Code, rec.Body)
		}
	}
}
