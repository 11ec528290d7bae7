package report

import (
	"cmp"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Machine is where and with what a benchmark ran.
type Machine struct {
	Cores      int       `json:"cores"`
	Model      string    `json:"model"`
	MemoryGiB  float64   `json:"memory_gib"`
	Kernel     string    `json:"kernel"`
	Go         string    `json:"go"`
	PostgreSQL string    `json:"postgresql,omitempty"`
	DuckDB     string    `json:"duckdb,omitempty"`
	Pintail    string    `json:"pintail,omitempty"` // the binary's revision
	Load       string    `json:"load_before"`       // processes that ran or waited, mean of the minute before
	Date       time.Time `json:"date"`
}

// ThisMachine fills in what does not depend on the programs measured.
func ThisMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Model: "unknown model", Go: runtime.Version(), Date: time.Now().UTC().Truncate(time.Second)}
	m.Model = cmp.Or(field("/proc/cpuinfo", "model name"), runtime.GOARCH)
	kilobytes, _, _ := strings.Cut(field("/proc/meminfo", "MemTotal"), " ")
	if n, err := strconv.ParseFloat(kilobytes, 64); err == nil {
		m.MemoryGiB = n / (1 << 20)
	}
	if out, err := exec.Command("uname", "-sr").Output(); err == nil {
		m.Kernel = strings.TrimSpace(string(out))
	}
	text, _ := os.ReadFile("/proc/loadavg") // absent but on linux
	m.Load, _, _ = strings.Cut(string(text), " ")
	return m
}

// field is the first value of a name in a file of "name : value" lines.
func field(path, name string) string {
	text, _ := os.ReadFile(path) // absent but on linux
	for line := range strings.SplitSeq(string(text), "\n") {
		k, v, found := strings.Cut(line, ":")
		if found && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func (m Machine) String() string {
	parts := []string{strconv.Itoa(m.Cores) + " × " + m.Model}
	if m.MemoryGiB > 0 {
		parts = append(parts, strconv.FormatFloat(m.MemoryGiB, 'f', 0, 64)+" GiB")
	}
	for _, p := range []struct{ name, value string }{
		{"", m.Kernel}, {"", m.Go}, {"PostgreSQL ", m.PostgreSQL}, {"DuckDB ", m.DuckDB}, {"pintail ", m.Pintail}, {"load before ", m.Load},
	} {
		if p.value != "" {
			parts = append(parts, p.name+p.value)
		}
	}
	return strings.Join(append(parts, m.Date.Format(time.DateOnly)), ", ")
}
