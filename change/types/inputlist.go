package types

import (
	"bytes"
	"fmt"

	"github.com/pintaildb/pintail/change"
)

// list reads an array as clients write it: blanks, quotes where there need be none, NULL in any case, bounds in front.
func (in *Input) list(t *Type, v *change.Vector, row int, b []byte) error {
	entry := change.At[change.ListEntry](v, row)
	entry.Offset, entry.Length = uint64(v.Len), 0
	b = trim(b)
	if len(b) > 0 && b[0] == '[' {
		bounds, rest, ok := bytes.Cut(b, []byte{'='})
		if !ok {
			return ErrSyntax
		}
		if !bytes.HasPrefix(trim(bounds), []byte("[1:")) || bytes.Count(bounds, []byte{'['}) > 1 {
			return fmt.Errorf("array with a lower bound other than 1, or of several dimensions: %w", change.ErrOutOfRange)
		}
		b = trim(rest)
	}
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
		return ErrSyntax
	}
	s := trim(b[1 : len(b)-1])
	n := 0
	for more := len(s) > 0; more; n++ {
		if v.Len == v.Cap {
			if err := v.Grow(max(2*v.Cap, 1)); err != nil {
				return err
			}
		}
		e, quoted, rest, err := in.element(s)
		switch {
		case err != nil:
			return err
		case !quoted && equalFold(e, "null"):
			v.Child.SetNull(v.Len)
		default:
			if err := in.text(t.Elem, v.Child, v.Len, e); err != nil {
				return err
			}
		}
		v.Len++
		if more = len(rest) > 0; more {
			if s = trim(rest[1:]); len(s) == 0 {
				return ErrSyntax
			}
		}
	}
	entry.Length = uint64(n)
	return nil
}

// element takes the first element of an array's text; rest is empty, or begins with the comma behind it.
func (in *Input) element(s []byte) (e []byte, quoted bool, rest []byte, err error) {
	if s[0] == '{' {
		return nil, false, nil, fmt.Errorf("array of several dimensions: %w", change.ErrOutOfRange)
	}
	d := &in.d
	d.scratch = d.scratch[:0]
	escaped, kept := false, 0 // kept: blanks behind it are the element's own
	if quoted = s[0] == '"'; quoted {
		s = s[1:]
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			if i++; i == len(s) {
				return nil, quoted, nil, ErrSyntax
			}
			escaped = true
			d.scratch = append(d.scratch, s[i])
			kept = len(d.scratch)
			continue
		case quoted && c == '"':
			rest = trim(s[i+1:])
			if len(rest) > 0 && rest[0] != ',' {
				return nil, quoted, nil, ErrSyntax
			}
			return in.elementBytes(s[:i], escaped), quoted, rest, nil
		case !quoted && c == ',':
			return in.unquoted(s[:i], escaped, kept), escaped, s[i:], emptyElement(i, escaped, s)
		case !quoted && (c == '{' || c == '}' || c == '"'):
			return nil, quoted, nil, ErrSyntax
		}
		d.scratch = append(d.scratch, c)
	}
	if quoted {
		return nil, quoted, nil, ErrSyntax
	}
	return in.unquoted(s, escaped, kept), escaped, nil, nil
}

func emptyElement(n int, escaped bool, s []byte) error {
	if !escaped && len(trim(s[:n])) == 0 {
		return ErrSyntax
	}
	return nil
}

func (in *Input) elementBytes(raw []byte, escaped bool) []byte {
	if !escaped {
		return raw
	}
	return in.hold(in.d.scratch)
}

func (in *Input) unquoted(raw []byte, escaped bool, kept int) []byte {
	if !escaped {
		return trim(raw)
	}
	s := in.d.scratch
	for len(s) > kept && blank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return in.hold(s)
}

// hold copies b, whatever its length: what is decoded from it may use the scratch memory again.
func (in *Input) hold(b []byte) []byte {
	k := in.d.kept.alloc(len(b))
	copy(k, b)
	return k
}
