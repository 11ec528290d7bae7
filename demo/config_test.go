package demo

import (
	"testing"

	"github.com/pintaildb/pintail/config"
)

func TestConfigIsValid(t *testing.T) {
	env := map[string]string{"DEMO_PG_PORT": "5432", "DEMO_DIR": t.TempDir()}
	c, warnings, err := config.Parse("pintail.yaml", []byte(Config), func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	if len(c.Datasets) != 4 {
		t.Errorf("%d datasets, want 4", len(c.Datasets))
	}
}
