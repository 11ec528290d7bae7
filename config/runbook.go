package config

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const runbookQueryTimeout = 60 * time.Second

func everyMinutes(n int) Schedule { return Schedule{Every: time.Duration(n) * time.Minute} }

// block makes dataset NAME and source NAME_db of a runbook block NAME_db.
func (n *normaliser) block(blockKey string, s *blockSpec, env Env) {
	name := strings.TrimSuffix(blockKey, "_db")
	if !s.Enabled {
		n.warn(n.path, "is not enabled: the dataset %s does not exist (enabled: true turns it on)", name)
		return
	}
	if other, taken := n.config.Sources[blockKey]; taken {
		n.fail(n.path, "brings a source of the name %s, which sources already has (line %d)", blockKey, other.Line)
	} else {
		n.config.Sources[blockKey] = &Source{Name: blockKey, URL: n.connection(s, env), Pool: defaultPool(n.config), Read: "auto", Line: n.line(n.path)}
	}
	ds := n.base(name)
	ds.Source, ds.Runbook = blockKey, true
	forms := n.forms("dataset_query", "results_query", "query")
	switch {
	case len(forms) == 0:
		n.fail(n.path, "needs dataset_query and results_query (or a single query)")
	case len(forms) > 1:
		n.fail(n.path, "has both query and dataset_query/results_query: keep one")
	case forms[0] == "query":
		ds.Form = FormQueries
		n.noColumnList()
		p := n.part("query", name, n.under("query"))
		p.SQL, p.Key = n.sql(n.under("query"), s.Query), n.listKey()
		ds.Parts = []Part{p}
		if n.has(n.under("join")) {
			n.fail(n.under("join"), "has no meaning with a single query")
		}
	default:
		ds.Form = FormSplit
		n.split(ds)
	}
	if other, taken := n.config.Datasets[name]; taken {
		n.fail(n.path, "is the dataset %s, which datasets already has (line %d)", name, other.Line)
		return
	}
	n.config.Datasets[name] = ds
}

// connection makes the block's URL. Each key of the file comes before its variable: url, NAME_DB_URL, host or
// NAME_DB_HOST and the rest.
func (n *normaliser) connection(s *blockSpec, env Env) Secret {
	prefix := strings.ToUpper(n.path)
	or := func(written, suffix string) string {
		if written != "" {
			return written
		}
		value, _ := env(prefix + suffix)
		return value
	}
	sslMode := or(s.SSLMode, "_SSL_MODE")
	// A host in the file is nearer than a URL in the environment.
	raw := string(s.URL)
	if raw == "" && s.Host == "" {
		raw, _ = env(prefix + "_URL")
	}
	if raw != "" {
		if sslMode == "" || strings.Contains(raw, "sslmode=") {
			return Secret(raw)
		}
		switch {
		case !strings.Contains(raw, "://"):
			return Secret(raw + " sslmode=" + sslMode)
		case strings.Contains(raw, "?"):
			return Secret(raw + "&sslmode=" + sslMode)
		}
		return Secret(raw + "?sslmode=" + sslMode)
	}
	host := or(s.Host, "_HOST")
	if host == "" {
		n.fail(n.path, "needs a connection: url, or host, database, username and password, or the variable %s_URL or %s_HOST", prefix, prefix)
		return ""
	}
	if sslMode == "" {
		sslMode = "prefer"
	}
	port := or("", "_PORT")
	if s.Port > 0 {
		port = strconv.Itoa(s.Port)
	}
	if p, err := strconv.Atoi(port); port == "" {
		port = "5432"
	} else if err != nil || p < 1 || p > 65535 {
		n.fail(n.path, "the variable %s_PORT is not a port number", prefix)
	}
	params := url.Values{"sslmode": {sslMode}}
	u := url.URL{Scheme: "postgresql", Host: net.JoinHostPort(host, port), Path: "/" + or(s.Database, "_NAME")}
	if strings.HasPrefix(host, "/") { // a socket's folder
		u.Host = ""
		params.Set("host", host)
		params.Set("port", port)
	}
	if user, password := or(s.Username, "_USER"), or(string(s.Password), "_PASSWORD"); password != "" {
		u.User = url.UserPassword(user, password)
	} else if user != "" {
		u.User = url.User(user)
	}
	u.RawQuery = params.Encode()
	return Secret(u.String())
}
