// Package demo makes the database that the demo, the tour in the README and some tests work on: an integration
// platform with third parties, their messages and errors, and the traces of language models.
package demo

import (
	"context"
	"embed"
	"fmt"
	"path"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Config is the demo's pintail.yaml. It reads DEMO_PG_PORT and DEMO_DIR, and DEMO_HTTP_PORT, DEMO_PGWIRE_PORT and DEMO_FLIGHT_PORT if set.
//
//go:embed pintail.yaml
var Config string

// Endpoints are the files that the configuration's folder of endpoints is to hold.
//
//go:embed endpoints
var Endpoints embed.FS

//go:embed schema.sql
var schema string

//go:embed seed.sql
var seed string

// Error texts by the stack of who raised them, separated by lines of %%.
//
//go:embed errors
var errorTexts embed.FS

// Seed makes the schema in an empty database and fills it with this many messages, a quarter as many traces and
// about two thirds as many results. url is a superuser's, because Seed also makes the role pintail (password pintail)
// that may only read. Two seeds of one size hold the same rows but for their times, which end at now.
func Seed(ctx context.Context, url string, messages int) error {
	if messages < 1 {
		return fmt.Errorf("seed %d messages: at least one is needed", messages)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, schema); err != nil {
		return fmt.Errorf("make the schema: %w", err)
	}
	if err := insertErrorTemplates(ctx, conn); err != nil {
		return fmt.Errorf("insert error templates: %w", err)
	}
	if _, err := conn.Exec(ctx, "SELECT set_config('demo.messages', $1, false)", fmt.Sprint(messages)); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	if _, err := conn.Exec(ctx, seed); err != nil {
		return fmt.Errorf("fill the tables: %w", err)
	}
	return nil
}

func insertErrorTemplates(ctx context.Context, conn *pgx.Conn) error {
	files, err := errorTexts.ReadDir("errors")
	if err != nil {
		return err
	}
	var rows [][]any
	for _, file := range files {
		text, err := errorTexts.ReadFile(path.Join("errors", file.Name()))
		if err != nil {
			return err
		}
		for n, template := range strings.Split(strings.TrimSpace(string(text)), "\n%%\n") {
			rows = append(rows, []any{strings.TrimSuffix(file.Name(), ".txt"), n, template})
		}
	}
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"error_templates"}, []string{"stack", "n", "template"}, pgx.CopyFromRows(rows))
	return err
}
