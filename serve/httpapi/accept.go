package httpapi

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
)

// mediaTypes are the formats that Accept may name.
var mediaTypes = map[string]string{
	"application/json":                    "json",
	"application/x-ndjson":                "ndjson",
	"application/jsonl":                   "ndjson",
	"text/csv":                            "csv",
	"application/vnd.apache.arrow.stream": "arrow",
	"application/vnd.apache.parquet":      "parquet",
	"application/*":                       "json",
	"*/*":                                 "json",
	"text/*":                              "csv",
}

// formatOf takes the request's word, then the best of Accept, then json.
func formatOf(format, accept string) (string, error) {
	switch format {
	case "":
	case "json", "ndjson", "csv", "arrow", "parquet":
		return format, nil
	default:
		return "", fault.New(fault.Usage, "ask for json, ndjson, csv, arrow or parquet", "there is no format %q", format)
	}
	best := 0.0
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		f := mediaTypes[media]
		q := 1.0
		if v, err := strconv.ParseFloat(params["q"], 64); err == nil {
			q = v
		}
		if err == nil && f != "" && q > best {
			format, best = f, q
		}
	}
	if format == "" {
		return "json", nil
	}
	return format, nil
}

// codings that answers can have, the best first.
var codings = []string{"zstd", "gzip"}

// codingOf takes the best of Accept-Encoding; "" is identity. What is compressed already is not compressed again unless the client
// refuses it as it is.
func codingOf(header string, compressed bool) (string, error) {
	const listed = 0.001 // the least that RFC 9110 can say
	weights := map[string]float64{}
	for part := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(part, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "" {
			continue
		}
		q := 1.0
		for param := range strings.SplitSeq(params, ";") {
			key, value, _ := strings.Cut(param, "=")
			if !strings.EqualFold(strings.TrimSpace(key), "q") {
				continue
			}
			// A weight that cannot be read is none.
			if v, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && v >= 0 && v <= 1 {
				q = v
			}
		}
		if name == "x-gzip" {
			name = "gzip"
		}
		weights[name] = q
	}
	weight := func(name string) float64 {
		if q, ok := weights[name]; ok {
			return q
		}
		return weights["*"]
	}
	identity, ok := weights["identity"]
	if any, star := weights["*"]; !ok && !(star && any == 0) {
		identity = listed / 2 // it need not be listed
	}
	best, q := "", identity
	if compressed && identity > 0 {
		q = 1
	}
	for _, c := range codings {
		if w := weight(c); w > q || w == q && w > 0 && best == "" && !compressed {
			best, q = c, w
		}
	}
	if q == 0 {
		return "", httpError(http.StatusNotAcceptable, "the answer can be sent with gzip, zstd or as it is, and Accept-Encoding refuses all of them", "leave Accept-Encoding out, or allow gzip")
	}
	return best, nil
}
