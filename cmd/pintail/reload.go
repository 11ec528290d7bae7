package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/serve/httpapi"
)

func (a *app) reloadCmd() *cobra.Command {
	var dryRun, yes bool
	c := &cobra.Command{
		Use:   "reload",
		Short: "Make the running server take over the changed configuration",
		Long: `Make the running server read its configuration again, and print what changes and what happens to the tables.
--dry-run only prints it. On a terminal it is asked before tables are dropped or rebuilt; elsewhere a reload that would
drop tables is refused without --yes, and changes nothing. SIGHUP, which cannot ask, reloads as with --yes and logs
beforehand what is dropped.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load(a.warn)
			if err != nil {
				return err
			}
			c, err := a.client(cfg)
			if err != nil {
				return err
			}
			if ask := !yes && isTerminal(os.Stdin) && isTerminal(a.errOut); ask || dryRun {
				var plan httpapi.Reloaded
				if err := c.get(cmd.Context(), http.MethodPost, "/api/store/reload?dry_run=true", nil, &plan); err != nil {
					return err
				}
				if dryRun {
					a.printReload(a.out, plan)
					return nil
				}
				if len(plan.Drops)+len(plan.Rebuilds) > 0 {
					a.printReload(a.errOut, plan)
					if !a.agreed(cmd.Context(), "Go on? [y/N] ") {
						return fault.New(fault.Cancelled, "", "nothing was changed")
					}
					yes = true
				}
			}
			var r httpapi.Reloaded
			if err := c.get(cmd.Context(), http.MethodPost, fmt.Sprintf("/api/store/reload?confirm=%t", yes), nil, &r); err != nil {
				return err
			}
			a.printReload(a.out, r)
			return nil
		},
	}
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only print what would change")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask: drop and rebuild what the configuration says")
	return c
}

func (a *app) printReload(w io.Writer, r httpapi.Reloaded) {
	fmt.Fprintln(w, r.Message)
	for _, change := range r.Changes {
		fmt.Fprintln(w, "- "+change)
	}
}

// agreed asks on the terminal; the end of the input, and of ctx, is a no.
func (a *app) agreed(ctx context.Context, question string) bool {
	fmt.Fprint(a.errOut, question)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n') // an error leaves no answer
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case text := <-answer:
		return text == "y" || text == "yes"
	case <-ctx.Done():
		return false
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
