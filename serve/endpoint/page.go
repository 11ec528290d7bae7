package endpoint

import (
	"embed"
	"net/http"
)

//go:embed page
var pageFiles embed.FS

// policy lets the page run its own script and talk to its own server, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

var pageTypes = map[string]string{
	"index.html": "text/html; charset=utf-8",
	"page.js":    "text/javascript; charset=utf-8",
	"page.css":   "text/css; charset=utf-8",
}

// Page serves a part of the page that lists the endpoints: index.html, page.js or page.css. It holds nothing that would need a login.
func Page(name string) http.Handler {
	body, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", pageTypes[name])
		h.Set("Content-Security-Policy", policy)
		h.Set("Cache-Control", "no-cache")
		_, _ = w.Write(body) // the client may be gone
	})
}
