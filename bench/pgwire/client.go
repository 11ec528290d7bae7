package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pintaildb/pintail/bench/internal/rig"
)

// Set where this program is its own child that reads the table: how, and from where.
const (
	clientEnv = "PINTAIL_BENCH_CLIENT"
	urlEnv    = "PINTAIL_BENCH_CLIENT_URL"
)

// ownClient is the command that reads the table and prints a rig.Drained.
func ownClient(kind, url string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), clientEnv+"="+kind, urlEnv+"="+url)
	return cmd
}

func runClient(kind string) (err error) {
	var d rig.Drained
	switch url := os.Getenv(urlEnv); kind {
	case "text", "binary":
		d, err = rig.DrainQuery(context.Background(), url, statement, kind == "binary")
	case "pgx":
		d, err = readByPgx(context.Background(), url)
	default:
		err = fmt.Errorf("there is no client %q", kind)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(d)
}

// readByPgx decodes every value.
func readByPgx(ctx context.Context, url string) (d rig.Drained, err error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return d, err
	}
	defer c.Close(ctx)
	begun := time.Now()
	rows, err := c.Query(ctx, statement)
	if err != nil {
		return d, err
	}
	defer rows.Close()
	var (
		id               int64
		partner          int32
		status, code     string
		amount           pgtype.Numeric
		created, updated time.Time
		flag             bool
		score            float64
		payload          pgtype.Text
	)
	for rows.Next() {
		if d.Rows++; d.Rows == 1 {
			d.First = time.Since(begun)
		}
		if err := rows.Scan(&id, &partner, &status, &code, &amount, &created, &updated, &flag, &score, &payload); err != nil {
			return d, err
		}
	}
	d.All = time.Since(begun)
	return d, rows.Err()
}

// limited keeps the first 4 KiB of what is written to it.
type limited struct{ b []byte }

func (l *limited) Write(p []byte) (int, error) {
	l.b = append(l.b, p[:min(len(p), 4<<10-len(l.b))]...)
	return len(p), nil
}
