package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/serve/httpapi"
)

func (a *app) reloadCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the running server take over the changed configuration",
		Long: `Make the running server read its configuration again, and print what changes and what happens to the tables.
SIGHUP does the same.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			c, err := a.client(cfg)
			if err != nil {
				return err
			}
			var r httpapi.Reloaded
			if err := c.get(cmd.Context(), http.MethodPost, "/api/store/reload", nil, &r); err != nil {
				return err
			}
			fmt.Fprintln(a.out, r.Message)
			for _, change := range r.Changes {
				fmt.Fprintln(a.out, "- "+change)
			}
			return nil
		},
	}
}

func (a *app) referenceCmd() *cobra.Command {
	return &cobra.Command{
		Use:       "reference {markdown|schema}",
		Short:     "Print the reference of the configuration file, or its JSON Schema",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"markdown", "schema"},
		RunE: func(_ *cobra.Command, args []string) error {
			if args[0] == "markdown" {
				_, err := fmt.Fprint(a.out, config.Reference())
				return err
			}
			b, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = a.out.Write(b)
			return err
		},
	}
}
