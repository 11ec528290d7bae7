package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/serve/httpapi"
)

func (a *app) slotsCmd() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "slots",
		Short: "List, and drop, the replication slots that Pintail has on the sources",
		Long: `List the replication slots that Pintail has in the databases of the configured sources: those of this file's datasets
of mode: cdc, and those that the Pintail of another file has made. A slot keeps its source's log until it is read or dropped.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			c, done, err := a.ask(ctx)
			if err != nil {
				return err
			}
			defer done()
			return show(ctx, a, c, "/api/store/slots", asJSON, a.printSlots)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(a.dropSlotCmd())
	return c
}

// printSlots draws the slots; a source that could not be asked makes the command fail.
func (a *app) printSlots(all httpapi.Slots) error {
	t := a.table("source", "slot", "dataset", "in use", "behind", "log kept", "wal status", "confirmed", "restart")
	for _, sl := range all.Slots {
		dataset, active := "another file's", "no"
		if sl.Dataset != nil {
			dataset = *sl.Dataset
			if !sl.Followed {
				dataset += ", not followed"
			}
		}
		if sl.Active {
			active = "yes"
		}
		t.AppendRow(table.Row{sl.Source, sl.Slot, dataset, active, bytesText(sl.LagBytes), bytesText(sl.RetainedBytes), sl.WALStatus, sl.ConfirmedLSN, sl.RestartLSN})
	}
	t.Render()
	var first error
	for _, name := range sortedKeys(all.Failed) {
		e := all.Failed[name]
		err := fault.New(fault.Code(e.Code), e.Hint, "source %s: %s", name, e.Message)
		a.printError(err)
		if first == nil {
			first = &toldError{err}
		}
	}
	return first
}

func (a *app) dropSlotCmd() *cobra.Command {
	var source string
	var yes, force bool
	c := &cobra.Command{
		Use:   "drop SLOT",
		Short: "Drop a slot and the publication of the same name",
		Long: `Drop a slot and the publication of the same name. On a terminal it is asked before; elsewhere --yes is needed. The slot of
a dataset that is configured and not paused, and one that is in use, needs --force too: all tables of that dataset are then
copied anew.

` + exitHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if !yes && !(isTerminal(os.Stdin) && isTerminal(a.errOut)) {
				return fault.New(fault.Usage, "--yes drops it", "there is no terminal to ask whether slot %s may be dropped", args[0])
			}
			c, done, err := a.ask(ctx)
			if err != nil {
				return err
			}
			defer done()
			if !yes && !a.agreed(ctx, fmt.Sprintf("Drop replication slot and publication %s? [y/N] ", args[0])) {
				return fault.New(fault.Cancelled, "", "nothing was dropped")
			}
			q := url.Values{"force": {fmt.Sprint(force)}}
			if source != "" {
				q.Set("source", source)
			}
			var r httpapi.Done
			if err := c.get(ctx, http.MethodDelete, "/api/store/slots/"+url.PathEscape(args[0])+"?"+q.Encode(), nil, &r); err != nil {
				return err
			}
			fmt.Fprintln(a.out, r.Message)
			return nil
		},
	}
	c.Flags().StringVar(&source, "source", "", "the source that has it; without it all are looked through")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&force, "force", false, "though a dataset follows it, or it is in use elsewhere")
	return c
}
