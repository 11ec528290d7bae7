package postgres

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pintaildb/pintail/internal/fault"
)

// serverError is PostgreSQL's own error, told in full: message, state, detail and where.
type serverError struct {
	*pgconn.PgError
	where string // "line 3, column 5" of the user's SQL
}

func (e *serverError) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.where != "" {
		b.WriteString(" at " + e.where)
	}
	fmt.Fprintf(&b, " (SQLSTATE %s)", e.Code)
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	return b.String()
}

func (e *serverError) Unwrap() error { return e.PgError }

// failed makes a fault of err, which came up while doing what the format says. It keeps a fault as it is.
func (s *Source) failed(ctx context.Context, err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	doing := fmt.Sprintf("source %s: %s", s.cfg.Name, fmt.Sprintf(format, args...))
	var f *fault.Error
	if errors.As(err, &f) {
		return fault.Wrap(err, "%s", doing)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		code, hint := s.classify(pg)
		if pg.Hint != "" {
			hint = strings.TrimSuffix(pg.Hint, ".") + ". " + hint
		}
		var known *serverError
		if !errors.As(err, &known) {
			err = &serverError{PgError: pg}
		}
		return fault.New(code, strings.TrimSpace(hint), "%s: %w", doing, err)
	}
	return fault.New(fault.SourceUnavailable, networkHint(err), "%s: %w", doing, s.redact(err))
}

var denied = regexp.MustCompile(`^permission denied for (\w+)(?: \w+)? (\S+)$`)

// grantHint says which statement gives the right that was missing.
func (s *Source) grantHint(message string) string {
	role := ident(s.config.User)
	if plainName(s.config.User) == s.config.User {
		role = s.config.User
	}
	if m := denied.FindStringSubmatch(message); m != nil {
		switch m[1] {
		case "schema":
			return "GRANT USAGE ON SCHEMA " + m[2] + " TO " + role + ";"
		case "table", "view", "relation", "materialized", "foreign", "column":
			return "GRANT SELECT ON " + m[2] + " TO " + role + ";"
		}
	}
	return "Grant " + role + " what is missing: USAGE on the schema, SELECT on the tables."
}

// classify maps an SQLSTATE.
func (s *Source) classify(e *pgconn.PgError) (fault.Code, string) {
	switch e.Code {
	case "53300":
		return fault.SourceUnavailable, "The server has no connection left: lower `pool` of this source or `sync_workers`, or raise max_connections."
	case "57P03", "57P01", "57P02":
		return fault.SourceUnavailable, "The server is starting up or stopping; this is tried again."
	case "57P05", "25P03", "25P04":
		return fault.SourceUnavailable, "Something between Pintail and the server ends idle sessions: raise its timeout."
	case "53100", "53200", "53400":
		return fault.SourceUnavailable, "The source itself is out of a resource; see its log."
	case "55006":
		return fault.SourceUnavailable, "Another process follows this slot, or the server has not noticed yet that it ended; this is tried again."
	case "40001":
		return fault.SourceConflict, "On a standby: raise max_standby_streaming_delay or set hot_standby_feedback = on, if this keeps happening."
	case "72000":
		return fault.SourceConflict, "The source's old_snapshot_threshold is shorter than this read."
	case "42501":
		return fault.SourcePrivilege, s.grantHint(e.Message)
	case "57014":
		if strings.Contains(e.Message, "statement timeout") {
			return fault.SourceTimeout, "Raise `query_timeout`, read less (a `where`, an incremental_column with an index), or give a partition_column."
		}
		return fault.SourceTimeout, "Someone cancelled the statement on the server."
	case "55P03":
		return fault.SourceTimeout, "Another session holds or waits for a strong lock on the table, such as ALTER TABLE; try again when it is done."
	case "3D000":
		return fault.Config, "Correct the database's name in the source's url."
	case "42P01":
		return fault.SourceSQL, "Check the table's name and schema; names with capitals need double quotes."
	case "42703":
		return fault.SourceSQL, "Check the column's name; names with capitals need double quotes."
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "08", "53", "58":
		return fault.SourceUnavailable, "The connection to the server failed; this is tried again."
	case "40":
		return fault.SourceConflict, ""
	case "28":
		return fault.SourcePrivilege, "Check user and password of the source's url, and pg_hba.conf of the server."
	case "XX":
		return fault.SourceSQL, "The server reports a defect of its own; see its log."
	}
	return fault.SourceSQL, "Run the statement in psql to see what the server wants."
}

// networkHint is for errors that no server has sent.
func networkHint(err error) string {
	var (
		unknownCA x509.UnknownAuthorityError
		wrongHost x509.HostnameError
		invalid   x509.CertificateInvalidError
		dns       *net.DNSError
	)
	switch {
	case errors.As(err, &unknownCA):
		return "The server's certificate is signed by nobody known here: add sslrootcert=FILE to the source's url."
	case errors.As(err, &wrongHost), errors.As(err, &invalid):
		return "The server's certificate is not for this host or not valid now: check the host in the source's url and the certificate's dates."
	case errors.As(err, &dns):
		return "The host's name cannot be resolved: check the source's url."
	case strings.Contains(err.Error(), "server refused TLS"):
		return "The server does not offer TLS: set sslmode in the source's url."
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "The server or something on the way closed the connection; this is tried again."
	}
	return "Check that the server runs and can be reached from here; this is tried again."
}

// redact hides the password should an error's text hold it.
func (s *Source) redact(err error) error {
	text := err.Error()
	clean := text
	for _, secret := range s.secrets {
		clean = strings.ReplaceAll(clean, secret, "***")
	}
	if clean == text {
		return err
	}
	return errors.New(clean)
}

// sqlstate is the SQLSTATE in err's chain, or "".
func sqlstate(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// place turns a position in a statement that holds the user's SQL after prefix into a place of the user's SQL.
func place(err error, prefix, sql string) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Position == 0 {
		return err
	}
	at := int(pg.Position) - 1 - len([]rune(prefix))
	runes := []rune(sql)
	if at < 0 || at > len(runes) {
		return err
	}
	before := string(runes[:at])
	line := 1 + strings.Count(before, "\n")
	column := 1 + len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))
	return &serverError{PgError: pg, where: fmt.Sprintf("line %d, column %d of the query", line, column)}
}
