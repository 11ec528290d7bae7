package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/source"
	"github.com/pintaildb/pintail/source/postgres"
)

// replicaChecker is what checkReplica needs of a source.
type replicaChecker interface {
	CheckReplication(ctx context.Context, o postgres.ReplicationCheck) (postgres.ReplicationReport, error)
	Slots(ctx context.Context, prefix string) ([]source.SlotState, error)
}

// checkReplica looks at a dataset that follows the write-ahead log. First comes what concerns server, role and configuration,
// then each table. An error is a source that cannot be reached.
func checkReplica(ctx context.Context, src replicaChecker, cfg *config.Config, d *config.Dataset) ([]tableCheck, error) {
	o := postgres.ReplicationCheck{Patterns: d.CDC.Tables, Columns: map[string][]string{}, OwnSlots: func(slot string) bool {
		for name, other := range cfg.Datasets {
			if other.Form == config.FormCDC && slotOf(name).MatchString(slot) {
				return true
			}
		}
		return false
	}}
	for name, t := range d.CDC.TableOptions {
		o.Columns[name] = t.Columns
	}
	slots, err := src.Slots(ctx, slotPrefix)
	if err != nil {
		return nil, err
	}
	for i := range slots {
		if slotOf(d.Name).MatchString(slots[i].Name) {
			o.Slot, o.Publication = slots[i].Name, slots[i].Name
		}
	}
	r, err := src.CheckReplication(ctx, o)
	if err != nil {
		return nil, err
	}
	found := make([]tableCheck, 1+len(r.Tables))
	head := &found[0]
	*head = tableCheck{Dataset: d.Name, Replica: true}
	byName := map[string]*tableCheck{"": head}
	for i := range r.Tables {
		t := &r.Tables[i]
		found[1+i] = tableCheck{Dataset: d.Name, Replica: true, SourceTable: t.Name, Table: replicaTarget(d, t), Identity: t.Identity, Key: t.Key,
			Report: postgres.CheckReport{Kind: t.Kind, Rows: t.Rows, Columns: t.Columns}}
		byName[t.Name] = &found[1+i]
		if deletes, _ := d.CDC.Kept(t.Name); deletes != "hard" && len(t.Key) == 0 && t.Identity == "full" {
			found[1+i].Problems = append(found[1+i].Problems, problem{string(fault.Config), "it has no key, by which rows that are gone could be told apart: deletes: " + deletes + " needs one",
				`ALTER TABLE … ADD PRIMARY KEY (…); or table_options: {"` + t.Name + `": {deletes: hard}}`})
		}
	}
	for _, f := range r.Problems {
		t := byName[f.Table]
		t.Problems = append(t.Problems, problem{f.Code, f.Message, f.Fix})
	}
	for _, f := range r.Warnings {
		t := byName[f.Table]
		t.Warnings = append(t.Warnings, problem{f.Code, f.Message, f.Fix})
	}
	checkTargets(cfg, d, found[1:])
	return found, nil
}

const slotPrefix = "pintail_"

var notInSlots = regexp.MustCompile(`[^a-z0-9]`)

// slotOf fits the names of a dataset's slots: they end with a random part, so that each copy has its own.
func slotOf(dataset string) *regexp.Regexp {
	name := notInSlots.ReplaceAllString(strings.ToLower(dataset), "_")
	return regexp.MustCompile("^" + slotPrefix + name[:min(len(name), 36)] + "_[0-9a-f]{8}$")
}

// replicaTarget is the table that one of the source becomes.
func replicaTarget(d *config.Dataset, t *postgres.ReplicationTable) string {
	return strings.NewReplacer("{dataset}", d.Name, "{schema}", t.Schema, "{table}", t.Table).Replace(d.CDC.Into)
}

// checkTargets finds tables that would become the same one, also of other datasets.
func checkTargets(cfg *config.Config, d *config.Dataset, tables []tableCheck) {
	taken := map[string]string{}
	for _, name := range sortedKeys(cfg.Datasets) {
		for _, t := range cfg.Datasets[name].Tables() {
			taken["main."+strings.ToLower(t)] = "a table of dataset " + name
		}
	}
	for i := range tables {
		t := &tables[i]
		low := strings.ToLower(t.Table)
		if !strings.Contains(low, ".") {
			low = "main." + low
		}
		if other := taken[low]; other != "" {
			t.Problems = append(t.Problems, problem{string(fault.Config), fmt.Sprintf("it would become %s, as %s does", t.Table, other),
				fmt.Sprintf(`into: "{dataset}_{schema}.{table}"; or leave it out: %q`, "!"+t.SourceTable)})
			continue
		}
		taken[low] = t.SourceTable
	}
}

// detailsMost is the number of tables up to which each is printed with its columns.
const detailsMost = 10

// printReplica prints what checkReplica found of one dataset.
func (a *app) printReplica(found []tableCheck, brief bool) {
	head, tables := found[0], found[1:]
	mark := "●"
	if slices.ContainsFunc(found, func(t tableCheck) bool { return len(t.Problems) > 0 }) {
		mark = "✗"
	}
	fmt.Fprintf(a.out, "%s %s (mode: cdc, %s)\n", mark, head.Dataset, plural(len(tables), "table"))
	a.printFindings(head, "")
	if !brief && len(tables) <= detailsMost {
		for _, t := range tables {
			a.printCheck(t, false)
		}
		return
	}
	if len(tables) == 0 {
		return
	}
	tw := a.table("", "table", "key", "rows", "into")
	for _, t := range tables {
		mark := "●"
		if len(t.Problems) > 0 {
			mark = "✗"
		}
		tw.AppendRow(table.Row{mark, t.SourceTable, t.keyText(), count(t.Report.Rows), t.Table})
	}
	tw.Render()
	for _, t := range tables {
		a.printFindings(t, t.SourceTable+": ")
	}
}

// keyText says what tells a table's rows apart.
func (t *tableCheck) keyText() string {
	switch {
	case len(t.Key) > 0:
		return strings.Join(t.Key, ", ")
	case t.Identity == "full":
		return "every column (no key)"
	}
	return "none"
}

func (a *app) printFindings(t tableCheck, of string) {
	for _, list := range []struct {
		what  string
		found []problem
	}{{"warning", t.Warnings}, {"problem", t.Problems}} {
		for _, p := range list.found {
			fmt.Fprintf(a.out, "  %s: %s%s\n", list.what, of, p.Message)
			if p.Hint != "" {
				fmt.Fprintf(a.out, "    hint: %s\n", p.Hint)
			}
		}
	}
}
