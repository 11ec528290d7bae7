package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/serve/endpoint"
	"github.com/pintaildb/pintail/syncer"
)

// endpoints are the published statements; nil when none are configured.
func (s *server) endpoints(ctx context.Context, core *query.Core) *endpoint.Folder {
	cfg := s.cfg.Endpoints
	if cfg.Path == "" {
		return nil
	}
	f := endpoint.New(endpoint.Options{Path: cfg.Folder(s.cfg.Path), Every: cfg.Reload, Rate: cfg.Rate, Check: core.Describe, Log: s.log})
	f.Load(ctx)
	return f
}

// checkEndpoints reads the endpoints' files. Their statements are looked into with the copy's file, unless it is not there yet or a server
// holds it.
func (a *app) checkEndpoints(ctx context.Context, cfg *config.Config) (found []tableCheck, err error) {
	if cfg.Endpoints.Path == "" {
		return nil, nil
	}
	check, closeFile, err := a.statementChecker(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeFile()) }()
	_, problems := endpoint.Check(ctx, cfg.Endpoints.Folder(cfg.Path), check, sortedKeys(cfg.Roles))
	t := tableCheck{Dataset: "endpoints"}
	for _, p := range problems {
		t.Problems = append(t.Problems, problem{Code: string(fault.Config), Message: p.Error(), Hint: "docs/endpoints.md describes every key"})
	}
	return []tableCheck{t}, nil
}

func (a *app) statementChecker(ctx context.Context, cfg *config.Config) (check endpoint.Checker, closeFile func() error, err error) {
	nothing := func() error { return nil }
	if _, err := os.Stat(cfg.DuckDB.Path); errors.Is(err, fs.ErrNotExist) || !cfg.DuckDB.Enabled {
		return nil, nothing, nil
	}
	log, err := a.logger("error")
	if err != nil {
		return nil, nil, err
	}
	in, err := a.open(ctx, cfg, log, syncer.Options{})
	switch {
	case fault.CodeOf(err) == fault.Locked:
		return nil, nothing, nil
	case err != nil:
		return nil, nil, err
	}
	return query.New(in.store, in.access, query.Options{Log: log}).Describe, func() error { return in.close(ctx) }, nil
}
