package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/duckdb/duckdb-go/v2"
	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/pintaildb/pintail/change"
)

type Store struct {
	db   mapping.Database
	conn mapping.Connection
}

func Open(path string, settings map[string]string) (*Store, error) {
	var cfg mapping.Config
	mapping.CreateConfig(&cfg)
	for k, v := range settings {
		if mapping.SetConfig(cfg, k, v) == mapping.StateError {
			return nil, fmt.Errorf("setting %s", k)
		}
	}
	s := &Store{}
	var msg string
	if mapping.GetOrCreateFromCache(duckdb.GetInstanceCache(), path, &s.db, cfg, &msg) == mapping.StateError {
		return nil, fmt.Errorf("open: %s", msg)
	}
	mapping.DestroyConfig(&cfg)
	mapping.Connect(s.db, &s.conn)
	return s, registerFeed(s.conn)
}

func (s *Store) Exec(sql string) error {
	var res mapping.Result
	defer mapping.DestroyResult(&res)
	if mapping.Query(s.conn, sql, &res) == mapping.StateError {
		return fmt.Errorf("%s", mapping.ResultError(&res))
	}
	return nil
}

func (s *Store) Close() { mapping.Disconnect(&s.conn); mapping.Close(&s.db) }

func (s *Store) Load(ctx context.Context, sql string, cols []Column, src change.Feed) error {
	id := lastID.Add(1)
	f := &feed{ctx: ctx, src: src, cols: cols}
	feeds.Store(id, f)
	defer feeds.Delete(id)
	err := s.Exec(strings.Replace(sql, "$FEED", fmt.Sprintf("%s(%d)", feedFunction, id), 1))
	if f.failure() != nil {
		return f.failure()
	}
	return err
}
