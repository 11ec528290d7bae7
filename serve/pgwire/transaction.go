package pgwire

// transaction is a client's block, which is nothing but what the protocol shows of it: each read sees the snapshot of its own statement,
// as in PostgreSQL's READ COMMITTED.
type transaction struct {
	open, failed bool
	before       map[string]string // the settings at BEGIN
	savepoints   []savepoint
}

type savepoint struct {
	name     string
	settings map[string]string
}

// status is what ReadyForQuery says.
func (t *transaction) status() byte {
	switch {
	case !t.open:
		return 'I'
	case t.failed:
		return 'E'
	}
	return 'T'
}

func (t *transaction) fail() { t.failed = t.open }

var errAborted = newError("25P02", "current transaction is aborted, commands ignored until end of transaction block", "send ROLLBACK")

func (c *conn) beginBlock(s *scanner) error {
	if err := c.modes(s, ""); err != nil {
		return err
	}
	if c.tx.open {
		c.notice("25001", "there is already a transaction in progress")
		return nil
	}
	c.tx = transaction{open: true, before: c.settings.values}
	return nil
}

// modes reads transaction modes and takes them over as settings: for this transaction, or with prefix "default_" for all.
func (c *conn) modes(s *scanner, prefix string) error {
	for {
		switch {
		case s.accept("isolation", "level"):
			level := ""
			switch {
			case s.accept("serializable"):
				level = "serializable"
			case s.accept("repeatable", "read"):
				level = "repeatable read"
			case s.accept("read", "committed"):
				level = "read committed"
			case s.accept("read", "uncommitted"):
				level = "read uncommitted"
			default:
				return s.unexpected()
			}
			if prefix != "" {
				c.settings.put(prefix+"transaction_isolation", level)
			}
		case s.accept("read", "only"), s.accept("read", "write"), s.accept("deferrable"), s.accept("not", "deferrable"):
		case s.acceptSymbol(","):
		default:
			if !s.done() {
				return s.unexpected()
			}
			return nil
		}
	}
}

// endBlock is COMMIT and ROLLBACK; the tag is that of what happened.
func (c *conn) endBlock(commit, chain bool) string {
	if !c.tx.open {
		c.notice("25P01", "there is no transaction in progress")
		if commit {
			return "COMMIT"
		}
		return "ROLLBACK"
	}
	commit = commit && !c.tx.failed
	if commit {
		c.settings.keep(nil)
	} else {
		c.settings.keep(c.tx.before)
	}
	c.endPortals(commit)
	c.tx = transaction{open: chain, before: c.settings.values}
	if commit {
		return "COMMIT"
	}
	return "ROLLBACK"
}

func (c *conn) savepoint(name string) error {
	if !c.tx.open {
		return newError("25P01", "SAVEPOINT can only be used in transaction blocks", "")
	}
	if len(c.tx.savepoints) >= 1000 {
		return newError("54000", "there are 1000 savepoints already", "release some")
	}
	c.tx.savepoints = append(c.tx.savepoints, savepoint{name, c.settings.values})
	return nil
}

// backTo is ROLLBACK TO, which keeps the savepoint, and RELEASE, which drops it.
func (c *conn) backTo(name string, release bool) error {
	if !c.tx.open {
		return newError("25P01", "savepoints can only be used in transaction blocks", "")
	}
	for i := len(c.tx.savepoints) - 1; i >= 0; i-- {
		sp := c.tx.savepoints[i]
		if sp.name != name {
			continue
		}
		if release {
			c.tx.savepoints = c.tx.savepoints[:i]
			return nil
		}
		c.tx.savepoints = c.tx.savepoints[:i+1]
		c.tx.failed = false
		c.settings.values = sp.settings
		return nil
	}
	return newError("3B001", `savepoint "`+clip(name)+`" does not exist`, "")
}
