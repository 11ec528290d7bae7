package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/query"
	"github.com/pintaildb/pintail/serve/flightsql"
	"github.com/pintaildb/pintail/store"
)

// serve is the other process: it serves the file until its input ends, and reads by itself when it is told to.
func serve(file string, in io.Reader, out io.Writer) (err error) {
	ctx := context.Background()
	st, err := store.Open(ctx, store.Options{Path: file})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close(ctx)) }()
	acc, err := access.New(access.Config{Catalog: st.Catalog(), Clients: st}, nil, nil)
	if err != nil {
		return err
	}
	core := query.New(st, acc, query.Options{})
	s, err := flightsql.New(flightsql.Options{Listen: "127.0.0.1:0", Access: acc, Core: core, Catalog: flightsql.NewCatalog(st, acc, nil)})
	if err != nil {
		return err
	}
	if err := s.Listen(ctx); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	defer func() { stop(); err = errors.Join(err, <-ended) }()
	fmt.Fprintln(out, s.Addr())
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		switch lines.Text() {
		case "read":
			rows, took, err := readHere(ctx, core)
			if err != nil {
				return err
			}
			fmt.Fprintln(out, rows, took.Nanoseconds())
		case "settle":
			debug.FreeOSMemory()
			fmt.Fprintln(out, "settled")
		}
	}
	return lines.Err()
}

// readHere reads the table as record batches.
func readHere(ctx context.Context, core *query.Core) (rows int64, took time.Duration, err error) {
	begun := time.Now()
	res, err := core.Run(ctx, access.Local(), query.Request{SQL: statement})
	if err != nil {
		return 0, 0, err
	}
	defer res.Close()
	r := res.Arrow(query.ArrowOptions{})
	defer r.Release()
	for {
		b, err := r.Next()
		if err != nil {
			return 0, 0, err
		}
		if b == nil {
			return rows, time.Since(begun), nil
		}
		rows += b.NumRows()
		b.Release()
	}
}
