package pgwire

import "strconv"

// transaction is a client's block, which is nothing but what the protocol shows of it: each read sees the snapshot of its own statement,
// as in PostgreSQL's READ COMMITTED.
type transaction struct {
	open, failed bool
	before       map[string]string // the settings at BEGIN
	savepoints   []savepoint
	written      int // rows that came in, tables made: each was committed by itself
}

type savepoint struct {
	name     string
	settings map[string]string
	written  int
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

// wrote counts a statement that has written.
func (c *conn) wrote() {
	if c.tx.open {
		c.tx.written++
	}
}

// errNotUndone is the answer to a ROLLBACK of what was written: the block ends, but nobody may think that it was undone.
func errNotUndone(n int) *sqlError {
	e := newError("2D000", "the rollback did not undo the "+strconv.Itoa(n)+" statements of the block that wrote", "send COPY, INSERT and the like outside of a transaction block, or be ready to keep them")
	e.detail = "Each statement that writes is a transaction of its own, and was committed when it ended."
	return e
}

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
func (c *conn) endBlock(commit, chain bool) (string, error) {
	if !c.tx.open {
		c.notice("25P01", "there is no transaction in progress")
		if commit {
			return "COMMIT", nil
		}
		return "ROLLBACK", nil
	}
	commit = commit && !c.tx.failed
	if commit {
		c.settings.keep(nil)
	} else {
		c.settings.keep(c.tx.before)
	}
	c.endPortals(commit)
	written := c.tx.written
	c.tx = transaction{open: chain, before: c.settings.values}
	switch {
	case commit:
		return "COMMIT", nil
	case written > 0:
		return "", errNotUndone(written)
	}
	return "ROLLBACK", nil
}

func (c *conn) savepoint(name string) error {
	if !c.tx.open {
		return newError("25P01", "SAVEPOINT can only be used in transaction blocks", "")
	}
	if len(c.tx.savepoints) >= 1000 {
		return newError("54000", "there are 1000 savepoints already", "release some")
	}
	c.tx.savepoints = append(c.tx.savepoints, savepoint{name, c.settings.values, c.tx.written})
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
		if n := c.tx.written - sp.written; n > 0 {
			c.tx.written = sp.written
			return errNotUndone(n)
		}
		return nil
	}
	return newError("3B001", `savepoint "`+clip(name)+`" does not exist`, "")
}
