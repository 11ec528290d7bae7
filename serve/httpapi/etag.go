package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// etagOf makes a weak validator of the version of what an answer was read from (query.Result.Version) and of all else that the answer
// depends on; "" when there is no version. It is weak because the rows may come in another order, and because of members like elapsed_ms.
func etagOf(version string, parts ...any) string {
	if version == "" {
		return ""
	}
	b, err := json.Marshal(append([]any{version}, parts...))
	if err != nil {
		return "" // nothing that a request can hold
	}
	sum := sha256.Sum256(b)
	return `W/"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`
}

// unchanged says whether If-None-Match names etag.
func unchanged(ifNoneMatch, etag string) bool {
	if etag == "" {
		return false
	}
	for tag := range strings.SplitSeq(ifNoneMatch, ",") {
		// Compared weakly; the tags of ours have no commas.
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(etag, "W/") {
			return true
		}
	}
	return false
}

// setETag lets clients keep an answer, and ask whether it still holds before they use it again.
func setETag(h http.Header, etag string) {
	if etag != "" {
		h.Set("ETag", etag)
		h.Set("Cache-Control", "private, no-cache")
	}
}

// notModified answers 304.
func notModified(w http.ResponseWriter, etag string) {
	setETag(w.Header(), etag)
	vary(w.Header())
	w.WriteHeader(http.StatusNotModified)
}
