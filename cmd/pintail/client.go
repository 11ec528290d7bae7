package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
	"github.com/pintaildb/pintail/syncer"
)

// client talks to a server over HTTP.
type client struct {
	base  string
	token string
	http  *http.Client
}

// client is the one for --server, PINTAIL_SERVER, or the configuration's own server.
func (a *app) client(cfg *config.Config) (*client, error) {
	base := a.server
	if base == "" {
		if cfg.Server.HTTP.Listen == "" {
			return nil, fault.New(fault.Config, "give --server URL", "%s opens no HTTP door", cfg.Path)
		}
		scheme := "http"
		if cfg.Server.TLS.Cert != "" {
			scheme = "https"
		}
		host, port, err := net.SplitHostPort(cfg.Server.HTTP.Listen)
		if err != nil {
			return nil, fault.New(fault.Config, "", "server.http.listen %q: %w", cfg.Server.HTTP.Listen, err)
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "localhost"
		}
		base = scheme + "://" + net.JoinHostPort(host, port)
	}
	if u, err := url.Parse(base); err != nil || u.Host == "" {
		return nil, &usageError{fmt.Errorf("--server %q is not a URL like http://127.0.0.1:8500", base)}
	}
	return &client{base: strings.TrimRight(base, "/"), token: os.Getenv("PINTAIL_TOKEN"), http: newHTTP()}, nil
}

// newHTTP does not ask for compressed answers: most servers are on this machine.
func newHTTP() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	return &http.Client{Transport: t}
}

// do sends a request and returns the body of a good answer, which the caller closes.
func (c *client) do(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fault.New(fault.Unavailable, "is `pintail serve` running there?", "ask the server at %s: %w", c.base, err)
	}
	if res.StatusCode < 300 {
		return res.Body, nil
	}
	defer res.Body.Close()
	var e struct {
		Error struct{ Code, Message, Hint string }
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20)) // what did come is judged below
	if json.Unmarshal(text, &e) != nil || !fault.Valid(fault.Code(e.Error.Code)) {
		return nil, fault.New(fault.Internal, "", "%s %s: the server answered %s: %.200s", method, path, res.Status, text)
	}
	return nil, fault.New(fault.Code(e.Error.Code), e.Error.Hint, "%s", e.Error.Message)
}

func (c *client) get(ctx context.Context, method, path string, body, into any) error {
	r, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer r.Close()
	if into == nil {
		return nil
	}
	d := json.NewDecoder(r)
	d.UseNumber()
	return d.Decode(into)
}

// alive says whether a server answers at all.
func (c *client) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return c.get(ctx, http.MethodGet, "/healthz", nil, nil) == nil
}

func (c *client) close(context.Context) error { return nil }

// run starts a run on the server and follows it to its end. When ctx ends first, the run is cancelled.
func (c *client) run(ctx context.Context, kind, dataset string, full bool, watch func(syncer.Live)) (store.Run, error) {
	path := "/api/store/sync/" + url.PathEscape(dataset)
	switch {
	case kind == syncer.KindVerify || kind == syncer.KindReconcile:
		path = "/api/store/" + kind + "/" + url.PathEscape(dataset)
	case full:
		path += "?full=true"
	}
	var started struct {
		RunID string `json:"run_id"`
	}
	if err := c.get(ctx, http.MethodPost, path, nil, &started); err != nil {
		return store.Run{}, err
	}
	for {
		var answer struct{ Run runBody }
		err := c.get(ctx, http.MethodGet, "/api/store/runs/"+started.RunID, nil, &answer)
		switch {
		case err != nil && ctx.Err() != nil:
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return store.Run{}, errors.Join(context.Cause(ctx), c.get(stop, http.MethodPost, "/api/store/runs/"+started.RunID+"/cancel", nil, nil))
		case err != nil:
			return store.Run{}, err
		}
		run := answer.Run.run()
		if run.State != syncer.StateRunning {
			if run.Error != "" {
				return run, fault.New(fault.Code(run.Code), run.Hint, "%s", run.Error)
			}
			return run, nil
		}
		if watch != nil {
			guess := int64(0)
			if run.Progress > 0 && run.Progress < 1 {
				guess = int64(float64(run.RowsRead) / run.Progress)
			}
			watch(syncer.Live{Run: run, Guess: guess})
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
