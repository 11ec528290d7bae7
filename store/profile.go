package store

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	duck "github.com/duckdb/duckdb-go-bindings"
)

// profiling is the setting under which a connection notes what its statements do; printing it is left out.
const profiling = "enable_profiling"

// Operator is one of a plan that has run.
type Operator struct {
	Name string        // DuckDB's, as HASH_GROUP_BY
	Time time.Duration // of all threads, without the operators below
	Rows int64         // it gave
}

// String is the operator for a log.
func (o Operator) String() string {
	return o.Name + " " + o.Time.Round(10*time.Microsecond).String() + ", " + strconv.FormatInt(o.Rows, 10) + " rows"
}

// Profile is what the statement that has ended last on the connection spent its time with, at most so many operators, those that took longest
// first; nil unless the store was opened with Options.Profile.
func (se *Session) Profile(most int) []Operator {
	if !se.s.profile {
		return nil
	}
	root := duck.GetProfilingInfo(se.c)
	if root.Ptr == nil {
		return nil
	}
	var all []Operator
	var walk func(info duck.ProfilingInfo)
	walk = func(info duck.ProfilingInfo) {
		if name := metric(info, "OPERATOR_NAME"); name != "" {
			seconds, _ := strconv.ParseFloat(metric(info, "OPERATOR_TIMING"), 64)     // 0 where it was not measured
			rows, _ := strconv.ParseInt(metric(info, "OPERATOR_CARDINALITY"), 10, 64) // likewise
			all = append(all, Operator{Name: name, Time: time.Duration(seconds * float64(time.Second)), Rows: rows})
		}
		for i := range duck.ProfilingInfoGetChildCount(info) {
			walk(duck.ProfilingInfoGetChild(info, i))
		}
	}
	walk(root)
	slices.SortStableFunc(all, func(a, b Operator) int { return cmp.Compare(b.Time, a.Time) })
	return all[:min(len(all), most)]
}

func metric(info duck.ProfilingInfo, name string) string {
	v := duck.ProfilingInfoGetValue(info, name)
	if v.Ptr == nil {
		return ""
	}
	defer duck.DestroyValue(&v)
	return duck.GetVarchar(v)
}
