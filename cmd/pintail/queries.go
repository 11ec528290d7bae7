package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/pintaildb/pintail/serve/httpapi"
)

func (a *app) queriesCmd() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "queries",
		Short: "List, and end, the statements that wait and run on a server",
		Long: `List the statements that wait and run on a server, through every door: administrators see everybody's, others their own.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			c, done, err := a.ask(ctx)
			if err != nil {
				return err
			}
			defer done()
			return show(ctx, a, c, "/v0/queries", asJSON, a.printQueries)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(a.killQueryCmd())
	return c
}

// sqlShown is how much of a statement a line has room for.
const sqlShown = 60

func (a *app) printQueries(all httpapi.Queries) error {
	t := a.table("query", "user", "door", "from", "state", "since", "rows", "bytes", "statement")
	for _, q := range all.Queries {
		t.AppendRow(table.Row{q.ID, q.User, q.Door, q.Remote, q.State, (time.Duration(q.ElapsedMS) * time.Millisecond).Round(100 * time.Millisecond),
			count(q.Rows), bytesText(q.Bytes), shorten(strings.Join(strings.Fields(q.SQL), " "), sqlShown)})
	}
	t.Render()
	return nil
}

func (a *app) killQueryCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "kill QUERY",
		Short: "End a statement",
		Long:  "End a statement, by its id in the list. Administrators end everybody's, others their own.\n\n" + exitHelp,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, done, err := a.ask(ctx)
			if err != nil {
				return err
			}
			defer done()
			var r httpapi.Done
			if err := c.get(ctx, http.MethodDelete, "/v0/queries/"+url.PathEscape(args[0]), nil, &r); err != nil {
				return err
			}
			fmt.Fprintln(a.out, r.Message)
			return nil
		},
	}
}
