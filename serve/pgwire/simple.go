package pgwire

import "github.com/jackc/pgx/v5/pgproto3"

// simpleQuery runs the statements of a text one after the other; the first that fails ends it.
func (c *conn) simpleQuery(sql string) error {
	c.drop("")
	if p := c.portals[""]; p != nil {
		p.close()
		delete(c.portals, "")
	}
	parts := split(sql)
	if len(parts) == 0 {
		c.send(&pgproto3.EmptyQueryResponse{})
	}
	for _, part := range parts {
		c.s.metrics.statements.WithLabelValues("simple").Inc()
		if err := c.simple(part); err != nil {
			return err
		}
		if len(c.out) >= bytesFlush {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return c.ready()
}

func (c *conn) simple(sql string) error {
	st, err := c.prepare(sql, nil)
	if st != nil {
		defer st.release()
	}
	if err != nil {
		return err
	}
	if len(st.params) > 0 {
		return newError("42P02", "there is no parameter $1", "parameters need the extended protocol")
	}
	p := c.newPortal("", st, nil)
	defer p.close()
	if st.cmd != nil && st.cmd.copy != nil {
		return c.copy(p)
	}
	if st.gives() {
		if err := c.rowDescription(st.columns, nil); err != nil {
			return err
		}
	}
	tag, _, err := c.perform(p, 0)
	if err != nil {
		return err
	}
	if err := c.afterCommand(); err != nil {
		return err
	}
	c.complete(tag)
	return nil
}
