package access

import (
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
)

// pattern is one entry of a role's read or write list, folded. object "*" is the whole dataset.
type pattern struct{ dataset, object string }

func parsePatterns(list []string) ([]pattern, error) {
	var out []pattern
	for _, s := range list {
		dataset, object, dotted := strings.Cut(fold(s), ".")
		if !dotted {
			object = "*"
		}
		bad := dataset == "" || object == "" ||
			dataset == "*" && object != "*" ||
			dataset != "*" && strings.Contains(dataset, "*") ||
			object != "*" && strings.Contains(object, "*")
		if bad {
			return nil, fault.New(fault.Config, `use "*", "dataset", "dataset.*" or "dataset.table"`, "pattern %q is not one", s)
		}
		out = append(out, pattern{dataset, object})
	}
	return out, nil
}

// matchDataset says whether the patterns grant the whole dataset.
func matchDataset(patterns []pattern, dataset string) bool {
	return matchObject(patterns, dataset, "main", "")
}

// matchObject says whether the patterns grant object of dataset; "" is all of it.
func matchObject(patterns []pattern, dataset, schema, object string) bool {
	dataset, object = fold(dataset), fold(object)
	if dataset == "" {
		return false
	}
	for _, p := range patterns {
		switch {
		case p.dataset != "*" && p.dataset != dataset:
		case p.object == "*":
			return true
		case object == "":
		case p.object == object:
			return true
		case fold(schema) == "main" && dataset+"_"+p.object == object:
			return true
		}
	}
	return false
}

// touchesDataset says whether the patterns grant anything of dataset.
func touchesDataset(patterns []pattern, dataset string) bool {
	dataset = fold(dataset)
	for _, p := range patterns {
		if p.dataset == "*" || p.dataset == dataset {
			return true
		}
	}
	return false
}
