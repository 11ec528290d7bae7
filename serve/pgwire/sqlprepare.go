package pgwire

import (
	"strings"

	"github.com/pintaildb/pintail/query/pgtype"
)

// typeOIDs are the names that PREPARE's parameters may have.
var typeOIDs = map[string]uint32{
	"bool": pgtype.Bool, "boolean": pgtype.Bool, "int2": pgtype.Int2, "smallint": pgtype.Int2, "int": pgtype.Int4, "int4": pgtype.Int4, "integer": pgtype.Int4,
	"int8": pgtype.Int8, "bigint": pgtype.Int8, "real": pgtype.Float4, "float4": pgtype.Float4, "float8": pgtype.Float8, "numeric": pgtype.Numeric,
	"decimal": pgtype.Numeric, "text": pgtype.Text, "varchar": pgtype.Varchar, "bytea": pgtype.Bytea, "date": pgtype.Date, "time": pgtype.Time,
	"timestamp": pgtype.Timestamp, "timestamptz": pgtype.TimestampTZ, "interval": pgtype.Interval, "uuid": pgtype.UUID, "json": pgtype.JSON,
	"jsonb": pgtype.JSONB, "unknown": pgtype.Unknown, "oid": pgtype.OID,
}

func prepareCommand(_ *conn, s *scanner) (*command, error) {
	name, ok := s.name()
	if !ok {
		return nil, s.unexpected()
	}
	var declared []uint32
	if s.acceptSymbol("(") {
		for !s.acceptSymbol(")") {
			typ, ok := s.name()
			if !ok {
				return nil, s.unexpected()
			}
			oid := typeOIDs[typ]
			if typ == "double" && s.accept("precision") {
				oid = pgtype.Float8
			}
			if oid == 0 {
				return nil, newError("42704", `type "`+clip(typ)+`" does not exist`, "or leave the types out")
			}
			declared = append(declared, oid)
			s.acceptSymbol(",")
		}
	}
	if !s.accept("as") {
		return nil, s.unexpected()
	}
	inner := s.rest()
	return &command{tag: "PREPARE", run: func(c *conn, _ *portal) (string, error) {
		st, err := c.prepare(inner, declared)
		if err == nil && !st.selects() {
			err = newError("42601", "only a SELECT can be prepared", "")
		}
		if err != nil {
			if st != nil {
				st.release()
			}
			return "", err
		}
		return "PREPARE", c.keep(name, st)
	}}, nil
}

// executeCommand binds literals, as text of the parameter's type.
func executeCommand(_ *conn, s *scanner) (*command, error) {
	name, ok := s.name()
	if !ok {
		return nil, s.unexpected()
	}
	var args [][]byte
	if s.acceptSymbol("(") {
		for !s.acceptSymbol(")") {
			arg, err := s.literal()
			if err != nil {
				return nil, err
			}
			args = append(args, arg)
			if !s.acceptSymbol(",") && !s.tok.symbol(")") {
				return nil, s.unexpected()
			}
		}
	}
	if !s.done() {
		return nil, s.unexpected()
	}
	return &command{tag: "SELECT",
		columns: func(c *conn) ([]column, error) {
			st, err := c.statementNamed(name)
			if err != nil {
				return nil, err
			}
			return st.columns, nil
		},
		run: func(c *conn, p *portal) (string, error) {
			st, err := c.statementNamed(name)
			if err != nil {
				return "", err
			}
			if st.cmd != nil || st.empty {
				return "", newError("0A000", "EXECUTE runs what PREPARE has prepared", "")
			}
			values, err := st.decode(args, nil)
			if err != nil {
				return "", err
			}
			p.source = c.newPortal("", st, values)
			c.retarget(p)
			return "", c.start(p.source)
		}}, nil
}

// literal takes a string, a number, NULL, TRUE or FALSE, with or without a cast; nil is NULL.
func (s *scanner) literal() ([]byte, error) {
	sign := ""
	if s.acceptSymbol("-") {
		sign = "-"
	}
	var value []byte
	switch t := s.tok; {
	case t.kind == text, t.kind == number, t.is("true", "false"):
		value = []byte(sign + t.val)
	case t.is("null"):
	default:
		return nil, newError("0A000", "EXECUTE takes literals only", "bind other values by the extended protocol")
	}
	s.next()
	for s.tok.symbol(":") && strings.HasPrefix(s.rest(), "::") {
		s.next()
		s.next()
		if _, ok := s.name(); !ok {
			return nil, s.unexpected()
		}
	}
	return value, nil
}

func deallocateCommand(_ *conn, s *scanner) (*command, error) {
	s.accept("prepare")
	if s.accept("all") {
		return plain("DEALLOCATE ALL", s, func(c *conn) error {
			for name := range c.statements {
				c.drop(name)
			}
			return nil
		})
	}
	name, ok := s.name()
	if !ok {
		return nil, s.unexpected()
	}
	return plain("DEALLOCATE", s, func(c *conn) error {
		if _, err := c.statementNamed(name); err != nil {
			return err
		}
		c.drop(name)
		return nil
	})
}
