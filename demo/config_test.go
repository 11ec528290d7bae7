package demo

import (
	"testing"

	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/serve/endpoint"
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
	files, err := Endpoints.ReadDir(c.Endpoints.Path)
	if err != nil || len(files) == 0 {
		t.Errorf("the folder of endpoints holds %v: %v", files, err)
	}
	for _, f := range files {
		text, err := Endpoints.ReadFile("endpoints/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := endpoint.Parse("x", f.Name(), text, ""); err != nil {
			t.Error(err)
		}
	}
	if len(c.Datasets) != 4 {
		t.Errorf("%d datasets, want 4", len(c.Datasets))
	}
}
