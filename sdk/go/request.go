package dugout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
)

// request is one HTTP call.
type request struct {
	method, url string
	query       url.Values
	body        any       // sent as JSON; nil: none
	raw         io.Reader // sent as it is, instead of body
	size        int64     // of raw, where it is known
	header      http.Header
	errLimit    int64 // bytes of an error answer that are read; 0: maxErrorBody
}

// send makes the call and returns a successful answer; the caller closes its body.
func (c *Client) send(ctx context.Context, q request) (*http.Response, error) {
	var body io.Reader
	var source *sourceReader
	if q.raw != nil {
		source = &sourceReader{r: q.raw}
		body = source
	} else if q.body != nil {
		b, err := json.Marshal(q.body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	target := q.url
	if len(q.query) > 0 {
		target += "?" + q.query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, q.method, target, body)
	if err != nil {
		return nil, err
	}
	if q.size > 0 {
		r.ContentLength = q.size
	}
	for k, v := range q.header {
		r.Header[k] = v
	}
	r.Header.Set("Authorization", "Bearer "+c.apiKey)
	r.Header.Set("User-Agent", c.userAgent)
	r.Header.Set("X-Daytona-Source", "dugout-go")
	switch {
	case q.raw != nil:
		r.Header.Set("Content-Type", "application/octet-stream")
	case q.body != nil:
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if source != nil {
			if rerr := source.failure(); rerr != nil {
				return nil, rerr
			}
		}
		if ue := (*url.Error)(nil); errors.As(err, &ue) { // its text repeats the whole URL
			err = ue.Err
		}
		return nil, &connectionError{op: "cannot reach " + r.URL.Scheme + "://" + r.URL.Host, cause: err}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		limit := q.errLimit
		if limit == 0 {
			limit = maxErrorBody
		}
		return nil, readError(resp, limit)
	}
	return resp, nil
}

// call makes the call and decodes its JSON answer into out; nil: the answer is thrown away.
func (c *Client) call(ctx context.Context, q request, out any) error {
	resp, err := c.send(ctx, q)
	if err != nil {
		return err
	}
	return c.decode(ctx, q, resp, out)
}

func (c *Client) decode(ctx context.Context, q request, resp *http.Response, out any) error {
	defer resp.Body.Close()
	if out == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody)) // so that the connection can be used again
		return nil
	}
	dec := json.NewDecoder(resp.Body)
	if err := dec.Decode(out); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch err.(type) {
		case *json.SyntaxError, *json.UnmarshalTypeError:
			return fmt.Errorf("%s %s: the answer is not what it should be: %w", q.method, q.url, err)
		}
		return &connectionError{op: "the answer was cut off", cause: err}
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4096))
	return nil
}

// sourceReader remembers why the caller's reader failed, which is not the server's fault. It hides the reader's Close: the
// reader is the caller's to close.
type sourceReader struct {
	r   io.Reader
	mu  sync.Mutex
	err error // guarded by mu; the transport reads in a goroutine of its own
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return n, err
}

func (s *sourceReader) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
