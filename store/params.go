package store

import (
	"encoding/json"
	"strconv"
	"strings"

	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/internal/fault"
)

// bind gives every parameter its value, as JSON has it. DuckDB takes a string for what the statement compares it with, as it does with a
// literal; so nothing is lost by binding a decimal, a date or a UUID as text.
func (s *Stmt) bind(positional []any, named map[string]any) error {
	if len(positional) > 0 && len(named) > 0 {
		return fault.New(fault.InvalidSQL, "", "parameters are given by position or by name, not both")
	}
	if n := len(positional) + len(named); n != len(s.Params) {
		names := make([]string, len(s.Params))
		for i, p := range s.Params {
			names[i] = "$" + p.Name
		}
		return fault.New(fault.InvalidSQL, "", "the statement has %d parameters (%s), but %d are given", len(names), strings.Join(names, ", "), n)
	}
	one := func(name string, v any) error {
		var i duck.IdxT
		if duck.BindParameterIndex(s.st, &i, name) == duck.StateError {
			return fault.New(fault.InvalidSQL, "", "the statement has no parameter $%s", name)
		}
		if int(i) > len(s.types) { // SELECT $2
			return fault.New(fault.InvalidSQL, "number them from $1", "the statement has a parameter $%s, but only %d in all", name, len(s.types))
		}
		val, err := value(v, &s.types[i-1])
		if err != nil {
			return fault.Wrap(err, "parameter $%s", name)
		}
		defer duck.DestroyValue(&val)
		if duck.BindValue(s.st, i, val) == duck.StateError {
			return fault.New(fault.InvalidSQL, "", "parameter $%s: %s", name, duck.PrepareError(s.st))
		}
		return nil
	}
	for i, v := range positional {
		if err := one(strconv.Itoa(i+1), v); err != nil {
			return err
		}
	}
	for name, v := range named {
		if err := one(name, v); err != nil {
			return err
		}
	}
	return nil
}

// value makes a DuckDB value, to be destroyed by the caller. want is the type the statement needs, if it is known.
func value(v any, want *resultType) (duck.Value, error) {
	if want != nil && want.id == duck.TypeVarchar {
		switch x := v.(type) {
		case bool:
			v = strconv.FormatBool(x)
		case int64:
			v = strconv.FormatInt(x, 10)
		case float64:
			v = strconv.FormatFloat(x, 'g', -1, 64)
		case json.Number:
			v = x.String()
		}
	}
	switch x := v.(type) {
	case nil:
		return duck.CreateNullValue(), nil
	case bool:
		return duck.CreateBool(x), nil
	case int:
		return duck.CreateInt64(int64(x)), nil
	case int64:
		return duck.CreateInt64(x), nil
	case float64:
		return duck.CreateDouble(x), nil
	case string:
		return duck.CreateVarcharLength(x, duck.IdxT(len(x))), nil
	case []byte:
		return duck.CreateBlob(x), nil
	case json.Number:
		if i, err := x.Int64(); err == nil {
			return duck.CreateInt64(i), nil
		}
		f, err := x.Float64()
		if exact := want != nil && want.id != duck.TypeInvalid && want.id != duck.TypeDouble && want.id != duck.TypeFloat; exact || err != nil {
			return value(x.String(), nil)
		}
		return duck.CreateDouble(f), nil
	case []any:
		return listValue(x)
	}
	return duck.Value{}, fault.New(fault.InvalidSQL, "", "a parameter is null, true or false, a number, a string or a list of these, not %T", v)
}

// listValue makes a list whose elements have the one type that all of them fit: text if nothing else.
func listValue(xs []any) (duck.Value, error) {
	vals := make([]duck.Value, len(xs))
	defer func() {
		for i := range vals {
			duck.DestroyValue(&vals[i])
		}
	}()
	kind := elementType(xs)
	text := &resultType{id: duck.TypeVarchar}
	var elem duck.LogicalType
	for i, x := range xs {
		if kind == duck.TypeDouble {
			switch n := x.(type) {
			case int64:
				x = float64(n)
			case json.Number:
				f, err := n.Float64()
				if err != nil {
					return duck.Value{}, fault.New(fault.InvalidSQL, "", "the number %s is out of range", n)
				}
				x = f
			}
		}
		want := (*resultType)(nil)
		if kind == duck.TypeVarchar {
			want = text
		}
		var err error
		if vals[i], err = value(x, want); err != nil {
			return duck.Value{}, err
		}
		if kind == duck.TypeList && x != nil && elem.Ptr == nil {
			// Owned by the value, not by us.
			elem = duck.GetValueType(vals[i])
		}
	}
	if kind != duck.TypeList {
		elem = duck.CreateLogicalType(kind)
		defer duck.DestroyLogicalType(&elem)
	}
	list := duck.CreateListValue(elem, vals)
	if list.Ptr == nil {
		return duck.Value{}, fault.New(fault.InvalidSQL, "", "the lists within a list must have elements of one type")
	}
	return list, nil
}

func elementType(xs []any) duck.Type {
	var ints, floats, bools, lists, nulls int
	for _, x := range xs {
		switch n := x.(type) {
		case nil:
			nulls++
		case bool:
			bools++
		case int, int64:
			ints++
		case float64:
			floats++
		case json.Number:
			if _, err := n.Int64(); err == nil {
				ints++
			} else {
				floats++
			}
		case []any:
			lists++
		}
	}
	switch len(xs) - nulls {
	case 0:
		return duck.TypeSQLNull
	case ints:
		return duck.TypeBigInt
	case ints + floats:
		return duck.TypeDouble
	case bools:
		return duck.TypeBoolean
	case lists:
		return duck.TypeList
	}
	return duck.TypeVarchar
}
