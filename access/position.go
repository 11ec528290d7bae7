package access

import (
	"slices"
	"strings"
)

// isPosition says whether sql is SELECT * FROM _pintail.position(), or FROM _pintail.position(), and nothing else.
func isPosition(sql string) bool {
	rest := sql
	if r, ok := cutWord(rest, "select"); ok {
		if rest, ok = cutSign(r, "*"); !ok {
			return false
		}
	}
	rest, ok := cutWord(rest, "from")
	if !ok {
		return false
	}
	for _, cut := range []struct {
		what string
		cut  func(s, what string) (string, bool)
	}{{ownSchema, cutWord}, {".", cutSign}, {"position", cutWord}, {"(", cutSign}, {")", cutSign}} {
		if rest, ok = cut.cut(rest, cut.what); !ok {
			return false
		}
	}
	if r, ok := cutSign(rest, ";"); ok {
		rest = r
	}
	return skipSpace(rest) == ""
}

func cutSign(s, sign string) (string, bool) { return strings.CutPrefix(skipSpace(s), sign) }

// position is that statement, for the datasets that p may read something of.
func (st *state) position(p Principal) Statement {
	var datasets []string
	if r := st.roles[p.Role]; r != nil {
		for _, pattern := range r.read {
			datasets = append(datasets, "'"+strings.ReplaceAll(pattern.dataset, "'", "''")+"'")
		}
	}
	slices.Sort(datasets)
	where := "false"
	if datasets = slices.Compact(datasets); len(datasets) > 0 {
		// Patterns are folded, as names are when they are compared with them.
		where = "translate(dataset, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz') IN (" + strings.Join(datasets, ", ") + ")"
	}
	return Statement{SQL: "SELECT * FROM " + positionFunction + "() WHERE " + where, position: true}
}

// readsAll says whether p may read every dataset, and so may know of each.
func (st *state) readsAll(p Principal) bool {
	if st.admin(p) {
		return true
	}
	r := st.roles[p.Role]
	return r != nil && slices.Contains(r.read, pattern{"*", "*"})
}
