// Package access is the one place that decides: who somebody is (Authenticate), what a role may sync and read
// (CanSync, CanRead, CanAdmin, Limits), and which statements may run (Gate). It knows neither the configuration file
// nor DuckDB; both are handed in as data and as small interfaces.
package access

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pintaildb/pintail/internal/fault"
)

// Config is what access needs to know; cmd puts it together from the configuration file.
type Config struct {
	Users []User
	Roles []Role // "admin" exists without being listed
	JWT   JWT

	Catalog   string   // DuckDB's name of the file (its stem); names may be qualified with it
	Resolver  Resolver // which dataset a table belongs to; nil: none
	Clients   Clients  // which tables clients made; nil: none
	Functions []string // Pintail's own SQL functions that any reader may call
}

// User is somebody who may log in with a password or a static token; with neither, by a JWT whose verified email or
// whose sub is the name. New keeps hashes of the secrets, never the secrets.
type User struct {
	Name, Password, Token, Role string
	Claims                      map[string]string // that _pintail.claim() gives, as those of a JWT
}

// LogValue and String keep secrets out of logs.
func (u User) String() string { return fmt.Sprintf("{%s *** role %s}", u.Name, u.Role) }

// GoString does so for %#v.
func (u User) GoString() string { return u.String() }

// LogValue does so for slog.
func (u User) LogValue() slog.Value { return slog.StringValue(u.String()) }

// Role is a set of rights. Patterns are "*" (every dataset), "m" or "m.*" (dataset m), and "shop.orders" (one table or
// view of dataset shop, named as in DuckDB, or without the dataset's prefix). Of what clients made, "events.*" is schema
// events, "events.clicks" one table there, and "t" table t of schema main. Write is the right to start syncs and to
// reset watermarks, which takes the whole dataset, and to make, replace and append to clients' tables; it does not include Read.
//
// RowFilters are conditions in DuckDB's SQL by pattern: of what it names the role sees only rows for which every one of them holds.
// Masks are expressions by table and column: they are what the role sees of the column.
type Role struct {
	Name        string
	Admin       bool
	Read, Write []string
	RowFilters  map[string]string
	Masks       map[string]map[string]string
	Limits      Limits
}

// Limits of a role's queries; zero is no limit.
type Limits struct {
	Time        time.Duration // of one statement, from the start of its execution
	Rows        int64         // of one result
	ResultBytes int64         // of one result
	Concurrency int           // statements at once, per role; as many puts beside them
	PutRows     int64         // of one put
	PutBytes    int64         // of one put, as Arrow has them in memory
}

// JWT says which tokens of an identity provider are taken. It is off without a JWKSURL. A token gets the role of the
// user (one without password and token) whose name is its verified email or its sub; else the first configured role
// that its RoleClaim names; else DefaultRole.
type JWT struct {
	Issuer, Audience, JWKSURL string // all three are needed
	RoleClaim                 string // a string or a list of them; the default is "role"
	DefaultRole               string // for a token without that claim; empty: refused
}

// Principal is who asks. Make one with Authenticate or Local.
type Principal struct {
	User, Role string
	Admin      bool
	Claims     string // what is known of them beside, a JSON object; "" is nothing
}

// Local is the person at the machine: the command line that opens the file itself.
func Local() Principal { return Principal{User: "local", Role: "admin", Admin: true} }

// Access decides. Its methods may be called from any goroutine.
type Access struct {
	state    atomic.Pointer[state]
	client   *http.Client
	log      *slog.Logger
	throttle *throttle
	hashing  chan struct{} // bounds the password hashes computed at once
}

// state is one configuration, immutable but for its caches.
type state struct {
	users     []*user
	byName    map[string]*user
	roles     map[string]*role
	jwt       *jwtVerifier // nil: none configured
	resolver  Resolver
	clients   Clients
	catalog   string
	functions map[string]bool
}

type role struct {
	Role
	builtin     bool // admin, where the configuration does not define it
	read, write []pattern
	filters     []rowFilter
	masks       []mask
}

// New checks cfg and hashes its secrets. client fetches the JWKS, when it is first needed; nil is one with a timeout
// of 10 s.
func New(cfg Config, client *http.Client, log *slog.Logger) (*Access, error) {
	if client == nil {
		client = &http.Client{Timeout: jwksTimeout}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	a := &Access{client: client, log: log, throttle: newThrottle(), hashing: make(chan struct{}, 2)}
	if err := a.Update(cfg); err != nil {
		return nil, err
	}
	return a, nil
}

// Update replaces the configuration at once; on an error the former one stays. The keys of an unchanged JWKS URL are kept.
func (a *Access) Update(cfg Config) error {
	st := &state{
		byName:    map[string]*user{},
		roles:     map[string]*role{"admin": {Role: Role{Name: "admin", Admin: true}, builtin: true}},
		resolver:  cfg.Resolver,
		clients:   cfg.Clients,
		catalog:   cfg.Catalog,
		functions: map[string]bool{},
	}
	for _, f := range cfg.Functions {
		st.functions[fold(f)] = true
	}
	seen := map[string]bool{}
	for _, r := range cfg.Roles {
		if r.Name == "" || seen[r.Name] {
			return fault.New(fault.Config, "give each role a name of its own", "role %q is named twice or not at all", r.Name)
		}
		seen[r.Name] = true
		if r.Limits.Time < 0 || r.Limits.Rows < 0 || r.Limits.ResultBytes < 0 || r.Limits.Concurrency < 0 || r.Limits.PutRows < 0 || r.Limits.PutBytes < 0 {
			return fault.New(fault.Config, "leave a limit out for none", "role %q: a limit is negative", r.Name)
		}
		c := &role{Role: r}
		var err error
		if c.read, err = parsePatterns(r.Read); err != nil {
			return fault.Wrap(err, "role %q: read", r.Name)
		}
		if c.write, err = parsePatterns(r.Write); err != nil {
			return fault.Wrap(err, "role %q: write", r.Name)
		}
		if err := c.setPolicies(); err != nil {
			return err
		}
		st.roles[r.Name] = c
	}
	if err := a.setJWT(st, cfg.JWT); err != nil {
		return err
	}
	for _, u := range cfg.Users {
		if err := a.addUser(st, u); err != nil {
			return err
		}
	}
	a.state.Store(st)
	return nil
}

func (a *Access) addUser(st *state, u User) error {
	switch {
	case u.Name == "" || st.byName[u.Name] != nil:
		return fault.New(fault.Config, "give each user a name of its own", "user %q is named twice or not at all", u.Name)
	case u.Password != "" && strings.Contains(u.Name, ":"):
		return fault.New(fault.Config, "Basic authentication cannot carry a colon", "user %q: the name holds a colon", u.Name)
	case st.roles[u.Role] == nil:
		return fault.New(fault.Config, "define it under roles:, or use admin", "user %q: there is no role %q", u.Name, u.Role)
	case u.Password == "" && u.Token == "" && st.jwt == nil:
		return fault.New(fault.Config, "give a password or a token", "user %q has no way to log in", u.Name)
	}
	c, err := newUser(u)
	if err != nil {
		return err
	}
	for _, other := range st.users {
		if c.hasToken && other.hasToken && c.token == other.token {
			return fault.New(fault.Config, "give each user a token of its own", "users %q and %q have the same token", other.name, c.name)
		}
	}
	if c.hasToken && len(u.Token) < tokenBytesMin {
		a.log.Warn("a short token can be guessed", "user", u.Name, "bytes_min", tokenBytesMin)
	}
	st.users = append(st.users, c)
	st.byName[c.name] = c
	return nil
}

func (a *Access) setJWT(st *state, cfg JWT) error {
	if cfg.JWKSURL == "" {
		if cfg.Issuer != "" || cfg.Audience != "" {
			return fault.New(fault.Config, "set jwks_url to the issuer's key set", "jwt: jwks_url is missing")
		}
		return nil
	}
	if cfg.Issuer == "" || cfg.Audience == "" {
		return fault.New(fault.Config, "without them a token made for anybody else would be taken", "jwt: issuer and audience are needed beside jwks_url")
	}
	u, err := url.Parse(cfg.JWKSURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopbackHost(u.Hostname())) {
		return fault.New(fault.Config, "keys must come over https (http only from this machine)", "jwt: jwks_url %q cannot be used", cfg.JWKSURL)
	}
	if cfg.RoleClaim == "" {
		cfg.RoleClaim = "role"
	}
	if cfg.DefaultRole != "" && st.roles[cfg.DefaultRole] == nil {
		return fault.New(fault.Config, "define it under roles:", "jwt: there is no role %q", cfg.DefaultRole)
	}
	keys := &keySet{url: cfg.JWKSURL, client: a.client, log: a.log}
	if old := a.state.Load(); old != nil && old.jwt != nil && old.jwt.keys.url == cfg.JWKSURL {
		keys = old.jwt.keys
	}
	st.jwt = newVerifier(cfg, keys)
	return nil
}

// Open says that nobody has to log in: no users and no JWT are configured, and clients on loopback are administrators.
// Listening beyond loopback is then the caller's to refuse.
func (a *Access) Open() bool {
	st := a.state.Load()
	return len(st.users) == 0 && st.jwt == nil
}

// CanSync says whether p may start syncs of the whole dataset and reset its watermarks.
func (a *Access) CanSync(p Principal, dataset string) error {
	st := a.state.Load()
	if st.admin(p) {
		return nil
	}
	if r := st.roles[p.Role]; r != nil && matchDataset(r.write, dataset) {
		return nil
	}
	return fault.New(fault.Forbidden, fmt.Sprintf("a role syncs it with write: [%q] or [\"*\"]", dataset+".*"),
		"sync %s: it does not exist, or role %q has no grant for it", dataset, p.Role)
}

// CanRead says whether p may read object, a table or view of dataset, with its schema where that is not main; "" is every object
// of the dataset.
func (a *Access) CanRead(p Principal, dataset, object string) error {
	st := a.state.Load()
	schema, bare, ok := strings.Cut(object, ".")
	if !ok {
		schema, bare = "main", object
	}
	if st.reads(p, dataset, schema, bare) {
		return nil
	}
	name := dataset
	if object != "" {
		name += "." + object
	}
	return fault.New(fault.Forbidden, fmt.Sprintf("a role reads it with read: [%q] or [\"*\"]", dataset+".*"),
		"read %s: it does not exist, or role %q has no grant for it", name, p.Role)
}

// Visible says whether p may know that dataset exists: it may read some of it or sync it. Lists are filtered by it.
func (a *Access) Visible(p Principal, dataset string) bool {
	st := a.state.Load()
	if st.admin(p) {
		return true
	}
	r := st.roles[p.Role]
	return r != nil && (touchesDataset(r.read, dataset) || touchesDataset(r.write, dataset))
}

// CanAdmin says whether p may do everything.
func (a *Access) CanAdmin(p Principal) error {
	if a.state.Load().admin(p) {
		return nil
	}
	return fault.New(fault.Forbidden, "log in as a user whose role has admin: true", "role %q is no administrator's", p.Role)
}

// Limits of p's role; an administrator without a role of limits has none.
func (a *Access) Limits(p Principal) Limits {
	if r := a.state.Load().roles[p.Role]; r != nil {
		return r.Limits
	}
	return Limits{}
}

func (st *state) admin(p Principal) bool {
	if p.Admin {
		return true
	}
	r := st.roles[p.Role]
	return r != nil && r.Admin
}

func (st *state) reads(p Principal, dataset, schema, object string) bool {
	if st.admin(p) {
		return true
	}
	r := st.roles[p.Role]
	return r != nil && matchObject(r.read, dataset, schema, object)
}
