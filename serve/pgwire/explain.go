package pgwire

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/pintaildb/pintail/query/pgtype"
)

// explained is an EXPLAIN: DuckDB's plan in the form that PostgreSQL's have, which tools and postgres_fdw read.
type explained struct {
	body        string // the statement that is explained
	analyze     bool
	json, costs bool
	width       int   // bytes of a row, roughly
	limit       int64 // of the statement as a whole; -1: none
}

// explainOf reads the beginning of an EXPLAIN; nil for other statements, and for those whose options are DuckDB's own.
func explainOf(sql string) (*explained, error) {
	s := newScanner(sql)
	if !s.accept("explain") {
		return nil, nil
	}
	x := &explained{costs: true, limit: -1}
	if s.tok.symbol("(") {
		inner := *s
		inner.next()
		if !inner.tok.is("select", "with", "values", "table") && !inner.tok.symbol("(") {
			s.next()
			if ours, err := x.options(s); !ours || err != nil {
				return nil, err
			}
		}
	} else {
		x.analyze = s.accept("analyze") || s.accept("analyse")
		s.accept("verbose")
	}
	x.body = s.rest()
	x.limit = limitOf(x.body)
	return x, nil
}

// options reads what stands in parentheses.
func (x *explained) options(s *scanner) (ours bool, err error) {
	for {
		name, ok := s.name()
		if !ok {
			return false, s.unexpected()
		}
		value := ""
		if !s.tok.symbol(",") && !s.tok.symbol(")") {
			value = s.next().val
		}
		on, valid := boolean(value)
		isOn := value == "" || on == "on"
		switch name {
		case "format":
			switch strings.ToLower(value) {
			case "json":
				x.json = true
			case "text":
			case "xml", "yaml":
				return false, newError("0A000", "EXPLAIN gives its plan as text or JSON", "write FORMAT json")
			default:
				return false, nil
			}
			valid = true
		case "analyze", "analyse":
			x.analyze = isOn
		case "costs":
			x.costs = isOn
		case "verbose", "buffers", "settings", "generic_plan", "wal", "timing", "summary", "memory":
		case "serialize":
			valid = true
		default:
			return false, newError("42601", `unrecognized EXPLAIN option "`+clip(name)+`"`, "")
		}
		if value != "" && !valid {
			return false, newError("42601", "EXPLAIN option "+name+" requires a Boolean value", "")
		}
		if s.acceptSymbol(")") {
			return true, nil
		}
		if !s.acceptSymbol(",") {
			return false, s.unexpected()
		}
	}
}

// limitOf is the number behind the LIMIT of the statement as a whole.
func limitOf(sql string) int64 {
	depth, limit := 0, int64(-1)
	for t := scan(sql, 0); t.kind != end; t = scan(sql, t.stop) {
		switch {
		case t.symbol("("):
			depth++
		case t.symbol(")"):
			depth--
		case depth == 0 && t.is("limit"):
			limit = -1
			if n := scan(sql, t.stop); n.kind == number {
				if v, err := strconv.ParseInt(n.val, 10, 64); err == nil {
					limit = v
				}
			}
		}
	}
	return limit
}

// prepareExplain puts EXPLAIN before the statement that st has prepared.
func (c *conn) prepareExplain(ctx context.Context, st *statement) error {
	x := st.explain
	for _, col := range st.columns {
		if col.typ.Len > 0 {
			x.width += int(col.typ.Len)
		} else {
			x.width += unknownWidth
		}
	}
	st.release()
	prefix := "EXPLAIN (FORMAT json) "
	if x.analyze {
		prefix = "EXPLAIN (ANALYZE, FORMAT json) "
	}
	st.text = prefix + st.text
	if err := c.connect(ctx, st); err != nil {
		return err
	}
	if err := st.learnParams(st.params); err != nil {
		return err
	}
	st.duck = st.q.Columns()
	typ := pgtype.ByOID(pgtype.Text)
	if x.json {
		typ = pgtype.ByOID(pgtype.JSON)
	}
	st.columns = []column{{name: "QUERY PLAN", typ: typ}}
	return nil
}

// unknownWidth is what PostgreSQL takes for the width of a column of which it knows nothing.
const unknownWidth = 32

// read takes the plan out of p's result and puts it into rows.
func (x *explained) read(p *portal) error {
	var doc []byte
	for {
		ok, err := p.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		for ; p.at < p.n; p.at++ {
			doc = p.chunk.AppendText(nil, 1, p.at)
		}
	}
	p.res.Close()
	p.res, p.at, p.n, p.done = nil, 0, 0, false
	root, seconds, err := parsePlan(doc)
	if err != nil {
		return newError("XX000", "the plan could not be read: "+err.Error(), "")
	}
	root.estimate()
	root.restrict(x.limit)
	root.width = x.width
	if x.json {
		out := map[string]any{"Plan": root.object(x)}
		if x.analyze {
			out["Execution Time"] = math.Round(seconds*1e6) / 1e3
		}
		var text strings.Builder
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode([]any{out}); err != nil {
			return err
		}
		p.mem = [][]string{{strings.TrimSuffix(text.String(), "\n")}}
		return nil
	}
	root.lines(x, 0, func(line string) { p.mem = append(p.mem, []string{line}) })
	if x.analyze {
		p.mem = append(p.mem, []string{fmt.Sprintf("Execution Time: %.3f ms", seconds*1e3)})
	}
	return nil
}

// planNode is an operator of DuckDB's plan; the names of an EXPLAIN's members are others than those of an EXPLAIN ANALYZE's.
type planNode struct {
	Name     string                     `json:"name"`
	Operator string                     `json:"operator_name"`
	Info     map[string]json.RawMessage `json:"extra_info"`
	Rows     int64                      `json:"operator_cardinality"`
	Seconds  float64                    `json:"operator_timing"`
	Latency  float64                    `json:"latency"`
	Children []*planNode                `json:"children"`

	estimated, cost float64
	width           int
}

func parsePlan(doc []byte) (root *planNode, seconds float64, err error) {
	if strings.HasPrefix(strings.TrimSpace(string(doc)), "[") {
		var roots []*planNode
		if err := json.Unmarshal(doc, &roots); err != nil {
			return nil, 0, err
		}
		if len(roots) == 1 {
			return roots[0], 0, nil
		}
		return nil, 0, fmt.Errorf("it has %d roots", len(roots))
	}
	root = &planNode{}
	if err := json.Unmarshal(doc, root); err != nil {
		return nil, 0, err
	}
	seconds = root.Latency
	for (root.name() == "" || root.name() == "EXPLAIN_ANALYZE") && len(root.Children) == 1 {
		root = root.Children[0]
	}
	return root, seconds, nil
}

func (n *planNode) name() string {
	if n.Operator != "" {
		return strings.TrimSpace(n.Operator)
	}
	return strings.TrimSpace(n.Name)
}

// rowCost is what a row costs in an operator, in the unit of PostgreSQL's cpu_operator_cost: its planner compares it with its own.
const rowCost = 0.0025

// estimate fills in rows and costs from the leaves up. Where DuckDB says nothing, as many rows come out as go in.
func (n *planNode) estimate() {
	var in float64
	for _, k := range n.Children {
		k.estimate()
		in = max(in, k.estimated)
		n.cost += k.cost
	}
	if text := strings.Trim(string(n.Info["Estimated Cardinality"]), `"`); text != "" {
		n.estimated, _ = strconv.ParseFloat(text, 64)
	}
	switch {
	case strings.HasPrefix(n.name(), "UNGROUPED_AGGREGATE") || n.name() == "DUMMY_SCAN":
		n.estimated = 1
	case n.estimated == 0:
		n.estimated = in
	}
	if top, err := strconv.ParseFloat(strings.Trim(string(n.Info["Top"]), `"`), 64); err == nil {
		n.estimated = min(n.estimated, top)
	}
	n.estimated = max(n.estimated, 1)
	n.cost += rowCost * max(in, n.estimated)
}

// restrict has the statement's LIMIT cut the rows of the operators above it, and their cost in proportion.
func (n *planNode) restrict(limit int64) {
	if limit < 0 || n.estimated <= float64(limit) {
		return
	}
	share := max(float64(limit), 1) / n.estimated
	n.estimated = max(float64(limit), 1)
	n.cost *= share
	if n.name() == "PROJECTION" && len(n.Children) == 1 {
		n.Children[0].restrict(limit)
	}
}

// title is the operator's name, with that of what it reads.
func (n *planNode) title() string {
	w := strings.Fields(strings.ToLower(strings.ReplaceAll(n.name(), "_", " ")))
	for i := range w {
		w[i] = strings.ToUpper(w[i][:1]) + w[i][1:]
	}
	title := strings.Join(w, " ")
	if table := n.info("Table"); len(table) == 1 {
		title += " on " + table[0][strings.LastIndexByte(table[0], '.')+1:]
	}
	return title
}

// info is what DuckDB says about the operator under a name: one line or several.
func (n *planNode) info(name string) []string {
	var many []string
	if json.Unmarshal(n.Info[name], &many) == nil {
		return many
	}
	var one string
	if json.Unmarshal(n.Info[name], &one) == nil && one != "" {
		return []string{one}
	}
	return nil
}

// shownInfo are the properties that a reader of a plan wants, in their order.
var shownInfo = []string{"Join Type", "Conditions", "Expression", "Groups", "Aggregates", "Order By", "Top", "Filters", "Projections", "Function", "File Filters"}

func (n *planNode) lines(x *explained, depth int, add func(string)) {
	indent, arrow := "", ""
	if depth > 0 {
		indent, arrow = strings.Repeat("      ", depth-1)+"  ", "->  "
	}
	line := indent + arrow + n.title()
	if x.costs {
		line += fmt.Sprintf("  (cost=0.00..%.2f rows=%.0f width=%d)", n.cost, n.estimated, n.width)
	}
	if x.analyze {
		line += fmt.Sprintf(" (actual rows=%d loops=1)", n.Rows)
	}
	add(line)
	indent += strings.Repeat(" ", len(arrow)) + "  "
	for _, name := range shownInfo {
		if v := n.info(name); len(v) > 0 {
			add(indent + name + ": " + strings.ReplaceAll(strings.Join(v, ", "), "\n", " "))
		}
	}
	if x.analyze {
		add(fmt.Sprintf("%sTime: %.3f ms", indent, n.Seconds*1e3))
	}
	for _, k := range n.Children {
		k.lines(x, depth+1, add)
	}
}

func (n *planNode) object(x *explained) map[string]any {
	out := map[string]any{"Node Type": n.title()}
	if x.costs {
		out["Startup Cost"], out["Total Cost"], out["Plan Rows"], out["Plan Width"] = 0.0, math.Round(n.cost*100)/100, int64(n.estimated), n.width
	}
	if x.analyze {
		out["Actual Rows"], out["Actual Loops"], out["Time"] = n.Rows, 1, math.Round(n.Seconds*1e6)/1e3
	}
	for _, name := range shownInfo {
		if v := n.info(name); len(v) > 0 {
			out[name] = v
		}
	}
	var plans []any
	for _, k := range n.Children {
		plans = append(plans, k.object(x))
	}
	if plans != nil {
		out["Plans"] = plans
	}
	return out
}
