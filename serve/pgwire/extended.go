package pgwire

import (
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"
)

func (c *conn) parse(m *pgproto3.Parse) error {
	var err error
	sql := m.Query
	switch parts := split(sql); {
	case len(parts) > 1:
		return newError("42601", "cannot insert multiple commands into a prepared statement", "send them one by one")
	case len(parts) == 1:
		sql = parts[0]
	default:
		sql = ""
	}
	if m.Name == "" {
		c.drop("")
	}
	st, err := c.prepare(sql, slices.Clone(m.ParameterOIDs))
	if err != nil {
		if st != nil {
			st.release()
		}
		return err
	}
	if err := c.keep(m.Name, st); err != nil {
		return err
	}
	c.send(&pgproto3.ParseComplete{})
	return nil
}

// statementNamed finds a prepared statement.
func (c *conn) statementNamed(name string) (*statement, error) {
	if st := c.statements[name]; st != nil {
		return st, nil
	}
	if name == "" {
		return nil, newError("26000", "unnamed prepared statement does not exist", "")
	}
	return nil, newError("26000", `prepared statement "`+clip(name)+`" does not exist`, "")
}

func (c *conn) portalNamed(name string) (*portal, error) {
	if p := c.portals[name]; p != nil {
		return p, nil
	}
	return nil, newError("34000", `portal "`+clip(name)+`" does not exist`, "it ended with its transaction, or was never bound")
}

func (c *conn) bind(m *pgproto3.Bind) error {
	st, err := c.statementNamed(m.PreparedStatement)
	if err != nil {
		return err
	}
	if c.tx.failed && (st.cmd == nil || !st.cmd.ends) {
		return errAborted
	}
	if err := c.underPath(st); err != nil {
		return err
	}
	values, err := st.decode(m.Parameters, m.ParameterFormatCodes)
	if err != nil {
		return err
	}
	if st.cmd != nil && st.cmd.columns != nil {
		// What they are may have changed: FETCH's cursor is another one.
		if st.columns, err = st.cmd.columns(c); err != nil {
			return err
		}
	}
	p := c.newPortal(m.DestinationPortal, st, values)
	if len(st.columns) > 0 || len(m.ResultFormatCodes) > 1 {
		if p.binary, err = formats(m.ResultFormatCodes, len(st.columns), "result"); err != nil {
			p.close()
			return err
		}
	}
	if err := c.put(p); err != nil {
		return err
	}
	c.send(&pgproto3.BindComplete{})
	return nil
}

func (c *conn) describe(m *pgproto3.Describe) error {
	if m.ObjectType == 'S' {
		st, err := c.statementNamed(m.Name)
		if err != nil {
			return err
		}
		if st.cmd != nil && st.cmd.columns != nil {
			if st.columns, err = st.cmd.columns(c); err != nil {
				return err
			}
		}
		c.send(&pgproto3.ParameterDescription{ParameterOIDs: st.params})
		return c.describeRows(st.columns, nil, st.gives())
	}
	if m.ObjectType != 'P' {
		return protocolError("invalid DESCRIBE message subtype")
	}
	p, err := c.portalNamed(m.Name)
	if err != nil {
		return err
	}
	return c.describeRows(p.columns, p.binary, p.st.gives())
}

// gives says whether the statement gives rows, though there may be no column in them.
func (st *statement) gives() bool {
	if st.empty || st.cmd != nil && st.cmd.columns == nil {
		return false
	}
	return true
}

func (c *conn) describeRows(columns []column, binaries []bool, rows bool) error {
	if rows {
		return c.rowDescription(columns, binaries)
	}
	c.send(&pgproto3.NoData{})
	return nil
}

func (c *conn) execute(m *pgproto3.Execute) error {
	p, err := c.portalNamed(m.Portal)
	if err != nil {
		return err
	}
	if c.tx.failed && (p.st.cmd == nil || !p.st.cmd.ends) {
		return errAborted
	}
	if p.st.empty {
		c.send(&pgproto3.EmptyQueryResponse{})
		return nil
	}
	c.s.metrics.statements.WithLabelValues("extended").Inc()
	if p.st.cmd != nil && p.st.cmd.copy != nil {
		return c.copy(p)
	}
	tag, suspended, err := c.perform(p, int64(m.MaxRows))
	if err != nil {
		return err
	}
	if err := c.afterCommand(); err != nil {
		return err
	}
	if suspended {
		c.send(&pgproto3.PortalSuspended{})
	} else {
		c.complete(tag)
	}
	if len(c.out) >= bytesFlush {
		return c.flush()
	}
	return nil
}

// afterCommand takes over what a command may have changed for the statements to come.
func (c *conn) afterCommand() error {
	was := c.settings.zoned
	if !c.settings.zoneChanged() {
		return nil
	}
	err := c.applyZone()
	if err != nil { // Go knows the zone and DuckDB does not
		c.settings.put("timezone", was)
		c.settings.session = with(c.settings.session, "timezone", was)
		c.settings.zoned = was
	}
	return err
}

func (c *conn) closeMessage(m *pgproto3.Close) error {
	switch m.ObjectType {
	case 'S':
		c.drop(m.Name)
	case 'P':
		if p := c.portals[m.Name]; p != nil {
			p.close()
			delete(c.portals, m.Name)
		}
	default:
		return protocolError("invalid CLOSE message subtype")
	}
	c.send(&pgproto3.CloseComplete{})
	return nil
}
