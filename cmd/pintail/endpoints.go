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

// checkCopy looks into what is to be run on the copy: the endpoints' files, and the roles' row filters and masks. Without its file, or where
// a server holds it, endpoints are read but for their statements.
func (a *app) checkCopy(ctx context.Context, cfg *config.Config) (found []tableCheck, err error) {
	core, closeFile, err := a.openCore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeFile()) }()
	if cfg.Endpoints.Path != "" {
		var check endpoint.Checker
		if core != nil {
			check = core.Describe
		}
		_, problems := endpoint.Check(ctx, cfg.Endpoints.Folder(cfg.Path), check, sortedKeys(cfg.Roles))
		t := tableCheck{Dataset: "endpoints"}
		for _, p := range problems {
			t.Problems = append(t.Problems, problem{Code: string(fault.Config), Message: p.Error(), Hint: "docs/endpoints.md describes every key"})
		}
		found = append(found, t)
	}
	if core != nil {
		misfits, err := core.Misfits(ctx)
		if err != nil {
			return nil, err
		}
		t := tableCheck{Dataset: "roles"}
		for _, m := range misfits {
			t.Problems = append(t.Problems, problem{Code: string(fault.Config), Message: m.Error(), Hint: fault.HintOf(m)})
		}
		if len(misfits) > 0 {
			found = append(found, t)
		}
	}
	return found, nil
}

// openCore is nil where the file is not there or held.
func (a *app) openCore(ctx context.Context, cfg *config.Config) (core *query.Core, closeFile func() error, err error) {
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
	if err := in.syncer.Recall(ctx); err != nil {
		return nil, nil, errors.Join(err, in.close(ctx))
	}
	return query.New(in.store, in.access, query.Options{Log: log}), func() error { return in.close(ctx) }, nil
}
