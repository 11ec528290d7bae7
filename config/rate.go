package config

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Rate is how often something may happen, as 100/s, 30/m or 500/h; empty is no limit.
type Rate string

// ParseRate reads a rate, or off.
func ParseRate(text string) (Rate, error) {
	text = strings.ToLower(strings.ReplaceAll(text, " ", ""))
	if text == "" || text == "off" {
		return "", nil
	}
	count, unit, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(count)
	if !ok || err != nil || n < 1 || n > 1_000_000 || rateUnits[unit] == 0 {
		return "", fmt.Errorf("%q is not a rate: write 100/s, 30/m or 500/h, or off", text)
	}
	return Rate(text), nil
}

var rateUnits = map[string]float64{"s": 1, "m": 60, "h": 3600}

// Limit is the rate in a second and how many may come at once; 0 and 0 are no limit.
func (r Rate) Limit() (perSecond float64, burst int) {
	count, unit, ok := strings.Cut(string(r), "/")
	n, err := strconv.Atoi(count)
	if !ok || err != nil {
		return 0, 0
	}
	return float64(n) / rateUnits[unit], n
}

// Endpoints are SQL files that answer GET requests (docs/endpoints.md).
type Endpoints struct {
	Path        string        `yaml:"path" help:"Folder of .sql files, relative to this file. Absent: no endpoints." example:"endpoints"`
	Reload      time.Duration `yaml:"reload" help:"Within it, changed, new and removed files take effect." default:"2s"`
	Rate        Rate          `yaml:"rate" help:"Requests that each user may send to an endpoint whose header names no rate: 100/s, 30/m, 500/h, or off." default:"off" example:"100/s"`
	CacheMemory Size          `yaml:"cache_memory" help:"Memory for answers of endpoints with cache. The largest answer that is kept is an eighth of it. 0 keeps none." default:"64MiB"`
}

// Folder is where the files are, for a configuration file of this name.
func (e Endpoints) Folder(config string) string {
	if e.Path == "" || filepath.IsAbs(e.Path) {
		return e.Path
	}
	return filepath.Join(filepath.Dir(config), e.Path)
}
