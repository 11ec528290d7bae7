package pgwire

import (
	"cmp"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// Codes in the place of a protocol version.
const (
	codeCancel = 80877102
	codeTLS    = 80877103
	codeGSS    = 80877104
)

const startupBytesMax = 10000

// tlsHandshake is the first byte of a client that begins TLS without asking (sslnegotiation=direct); no startup packet is so long. Its
// hello has a code of ours.
const (
	tlsHandshake  = 0x16
	codeDirectTLS = 1
)

// replayed is a connection of which some bytes were read already.
type replayed struct {
	net.Conn
	first []byte
}

// Read implements io.Reader.
func (r *replayed) Read(p []byte) (int, error) {
	if len(r.first) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.first)
	r.first = r.first[n:]
	return n, nil
}

// hello is a startup packet.
type hello struct {
	code   uint32
	body   []byte            // behind the code
	params map[string]string // of a startup message
	// unknown are protocol options, which a client may ask for and we have none of.
	unknown []string
}

// readHello reads exactly one packet and not a byte more: what follows may belong to TLS.
func readHello(r io.Reader) (*hello, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if head[0] == tlsHandshake {
		return &hello{code: codeDirectTLS, body: head[:]}, nil
	}
	n := int64(binary.BigEndian.Uint32(head[:4]))
	if n < 8 || n > startupBytesMax {
		return nil, protocolError("invalid length of startup packet")
	}
	h := &hello{code: binary.BigEndian.Uint32(head[4:]), body: make([]byte, n-8)}
	if _, err := io.ReadFull(r, h.body); err != nil {
		return nil, err
	}
	if h.code>>16 != 3 {
		return h, nil
	}
	return h, h.parse()
}

func (h *hello) parse() error {
	h.params = map[string]string{}
	rest := string(h.body)
	for {
		name, after, ok := strings.Cut(rest, "\x00")
		if !ok {
			return protocolError("invalid startup packet layout: expected terminator as last byte")
		}
		if name == "" {
			if after != "" {
				return protocolError("invalid startup packet layout: there is more behind the terminator")
			}
			return nil
		}
		value, after, ok := strings.Cut(after, "\x00")
		if !ok {
			return protocolError("invalid startup packet layout: a parameter has no value")
		}
		if strings.HasPrefix(name, "_pq_.") {
			h.unknown = append(h.unknown, name)
		} else {
			h.params[name] = value
		}
		rest = after
	}
}

// startup gets the connection from its first byte to its first ReadyForQuery; false: it ends.
func (c *conn) startup() bool {
	h, err := c.greet()
	if err == nil && h == nil {
		return false // a cancel request, or no client any more
	}
	if err == nil {
		err = c.begin(h)
	}
	if err == nil {
		return true
	}
	if c.in.failed || errors.Is(err, errGone) {
		return false
	}
	e := describe(err)
	c.s.log.LogAttrs(c.ctx, slog.LevelInfo, "pgwire refused", slog.String("remote", c.remote.String()), slog.String("sqlstate", e.state), slog.String("reason", cmp.Or(e.logged, e.message)))
	c.fatal(e)
	return false
}

// greet answers requests for encryption until the startup message comes.
func (c *conn) greet() (*hello, error) {
	for requests := 0; ; requests++ {
		h, err := readHello(&c.in)
		if err != nil {
			return nil, err
		}
		_, encrypted := c.nc.(*tls.Conn)
		switch {
		case h.code == codeCancel:
			if len(h.body) >= 8 && len(h.body) <= 260 {
				c.s.cancels.request(binary.BigEndian.Uint32(h.body), h.body[4:])
			}
			return nil, nil
		case h.code == codeTLS && requests < 2 && !encrypted:
			if c.s.opts.TLS == nil {
				c.out = append(c.out, 'N')
				err = c.flush()
			} else {
				c.out = append(c.out, 'S')
				if err = c.flush(); err == nil {
					err = c.encrypt()
				}
			}
		case h.code == codeDirectTLS && c.s.opts.TLS != nil && requests == 0:
			c.use(&replayed{Conn: c.nc, first: h.body})
			err = c.encrypt()
		case h.code == codeGSS && requests < 2 && !encrypted:
			c.out = append(c.out, 'N')
			err = c.flush()
		case h.code>>16 == 3:
			return h, nil
		default:
			return nil, protocolError("unsupported frontend protocol: this server speaks 3.0 and 3.2")
		}
		if err != nil {
			return nil, err
		}
	}
}

// encrypt waits for the client's handshake no longer than for its startup.
func (c *conn) encrypt() error {
	if err := c.expect(); err != nil {
		return err
	}
	cfg := c.s.opts.TLS.Clone()
	used := cfg
	if now := cfg.GetConfigForClient; now != nil {
		cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := now(hello)
			if chosen != nil {
				used = chosen
			}
			return chosen, err
		}
	}
	t := tls.Server(c.nc, cfg)
	err := t.HandshakeContext(c.ctx)
	if _, direct := c.nc.(*replayed); err == nil && direct && t.ConnectionState().NegotiatedProtocol != "postgresql" {
		err = errors.New("no ALPN") // as PostgreSQL demands, so that no other protocol's client is taken for one of ours
	}
	if err != nil {
		c.s.log.LogAttrs(c.ctx, slog.LevelDebug, "pgwire handshake failed", slog.String("remote", c.remote.String()), slog.Any("error", err))
		return errGone // the client's business, and it would not understand an answer
	}
	c.use(t)
	c.secure, c.binding = true, endPoint(t, used)
	return nil
}

// begin logs the client in and tells it of its session.
func (c *conn) begin(h *hello) error {
	if c.s.isStopping() {
		return errStopping()
	}
	c.user = h.params["user"]
	database := h.params["database"]
	if database == "" {
		database = c.user
	}
	_, encrypted := c.nc.(*tls.Conn)
	switch {
	case c.user == "":
		return newError("28000", "no PostgreSQL user name specified in startup packet", "")
	case h.params["replication"] != "" && !isFalse(h.params["replication"]):
		return newError("0A000", "replication connections are not supported", "connect to the source for its log")
	case c.s.opts.TLS != nil && !encrypted && !c.remote.IsLoopback():
		return newError("28000", "this server takes connections from other machines over TLS only", "set sslmode=require or higher")
	case !c.s.admit(c):
		return newError("53300", "sorry, too many clients already", "close some, or use a connection pool")
	}
	minor := h.code & 0xffff
	if minor != 0 && minor != 2 || len(h.unknown) > 0 {
		if minor != 0 && minor < 2 {
			minor = 0
		}
		minor = min(minor, 2)
		c.send(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 3<<16 | minor, UnrecognizedOptions: h.unknown})
	}
	c.backend = pgproto3.NewBackend(&c.in, nil)
	c.backend.SetMaxBodyLen(loginBytesMax)
	if err := c.login(); err != nil {
		return err
	}
	c.backend.SetMaxBodyLen(messageBytesMax)
	// After the login, so that nobody learns the name without one. A client that names none, or its user, gets the only one there is.
	if database != c.s.opts.Database && database != c.user {
		return newError("3D000", `database "`+clip(database)+`" does not exist`, `the only one is "`+c.s.opts.Database+`"`)
	}
	secretBytes := 4
	if minor == 2 {
		secretBytes = 32
	}
	id, secret := c.s.cancels.add(c, secretBytes)
	c.pid = id
	if err := c.open(h.params); err != nil {
		return err
	}
	c.settings.reportAll(c)
	c.send(&pgproto3.BackendKeyData{ProcessID: id, SecretKey: secret})
	c.loggedIn = true
	c.s.log.LogAttrs(c.ctx, slog.LevelInfo, "pgwire connected", slog.String("user", c.who.User), slog.String("role", c.who.Role), slog.String("remote", c.remote.String()),
		slog.Bool("tls", encrypted), slog.String("application", clip(c.settings.get("application_name"))))
	return c.ready()
}

// open makes the session, with the settings that came in the startup message. Those that we do not know are left out.
func (c *conn) open(params map[string]string) error {
	c.settings = newSettings(c.who, c.s.opts.Database)
	if c.s.opts.Ingest != nil && c.s.opts.Access.Writes(c.who) {
		c.settings.defaults["transaction_read_only"], c.settings.defaults["default_transaction_read_only"] = "off", "off"
	}
	c.session = c.s.opts.Core.Session("pgwire", c.who, store.Settings{})
	c.session.Enter(c.ctx, c.pid, c.terminate)
	for name, value := range startupOptions(params["options"]) {
		params[name] = value
	}
	for name, value := range params {
		switch name {
		case "user", "database", "replication", "options":
			continue
		}
		if err := c.settings.start(name, value); err != nil {
			return err
		}
	}
	c.settings.commitStart()
	return c.applyZone()
}

// applyZone gives the core's session the settings of ours.
func (c *conn) applyZone() error {
	set := store.Settings{Postgres: true, TimeZone: c.settings.get("timezone"), Variables: map[string]string{"pintail_user": c.who.User, "pintail_role": c.who.Role, "pintail_pid": strconv.Itoa(int(c.pid))}}
	if err := c.session.Set(c.ctx, set); err != nil {
		if fault.CodeOf(err) == fault.InvalidSQL {
			return newError("22023", `invalid value for parameter "TimeZone": "`+clip(set.TimeZone)+`"`, "use a name as Europe/Berlin")
		}
		return err
	}
	// What is prepared has the former zone.
	for _, st := range c.statements {
		st.release()
	}
	return nil
}

// startupOptions reads -c name=value and --name=value, with blanks escaped by backslashes.
func startupOptions(s string) map[string]string {
	out := map[string]string{}
	var words []string
	var word strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			word.WriteByte(s[i])
		case s[i] == ' ' || s[i] == '\t':
			words = append(words, word.String())
			word.Reset()
		default:
			word.WriteByte(s[i])
		}
	}
	words = append(words, word.String())
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "-c" && i+1 < len(words):
			i++
			w = words[i]
		case strings.HasPrefix(w, "-c"):
			w = w[2:]
		case strings.HasPrefix(w, "--"):
			w = strings.ReplaceAll(w[2:], "-", "_")
		default:
			continue
		}
		if name, value, ok := strings.Cut(w, "="); ok {
			out[name] = value
		}
	}
	return out
}

func isFalse(s string) bool {
	switch strings.ToLower(s) {
	case "false", "off", "no", "0":
		return true
	}
	return false
}

// clip cuts what a client sent for messages and logs.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > 100 {
		s = strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}
