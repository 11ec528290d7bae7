package main

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/pintaildb/pintail/serve/httpapi"
)

func (a *app) retryCmd() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "retry [DATASET [TABLE]]",
		Short: "Take tables of mode: cdc out of quarantine, or list what is in it",
		Long: `Take the tables of a dataset of mode: cdc out of quarantine, all or the one named as in the copy or in the source, and
have them copied anew: at once while a server follows the dataset, else by the next serve or sync. Without a dataset
it lists what is in quarantine, and why.

` + exitHelp,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, done, err := a.ask(ctx)
			if err != nil {
				return err
			}
			defer done()
			if len(args) > 0 {
				path := "/api/store/retry/" + url.PathEscape(args[0])
				if len(args) == 2 {
					path += "?table=" + url.QueryEscape(args[1])
				}
				var r httpapi.RetryDone
				if err := c.get(ctx, http.MethodPost, path, nil, &r); err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(r)
				}
				fmt.Fprintln(a.out, r.Message)
				return nil
			}
			return show(ctx, a, c, "/api/store/quarantine", asJSON, func(all httpapi.Quarantine) error {
				if len(all.Quarantine) == 0 {
					fmt.Fprintln(a.out, "nothing is in quarantine")
					return nil
				}
				t := a.table("since", "dataset", "table", "position", "reason")
				for _, q := range all.Quarantine {
					t.AppendRow(table.Row{q.At.Local().Format(time.DateTime), q.Dataset, q.Table, q.LSN, q.Reason})
				}
				t.Render()
				return nil
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
