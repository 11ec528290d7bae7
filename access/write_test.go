package access

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

type someClients map[Object]bool

func (c someClients) IsClientTable(schema, table string) bool {
	return c[Object{Schema: fold(schema), Name: fold(table)}]
}

type replicaTables struct{ Tables }

func (replicaTables) SchemaOf(schema string) (string, bool) { return "shop", fold(schema) == "shop" }

func TestCanWrite(t *testing.T) {
	a, err := New(Config{
		Catalog: "p", Resolver: replicaTables{gateTables()}, Clients: someClients{{Schema: "events", Name: "clicks"}: true, {Schema: "main", Name: "t"}: true},
		Roles: []Role{
			{Name: "schema", Write: []string{"Events.*"}},
			{Name: "table", Write: []string{"events.clicks", "t"}},
			{Name: "dataset", Write: []string{"m.*", "shop"}},
			{Name: "all", Write: []string{"*"}},
			{Name: "reads", Read: []string{"*"}},
			{Name: "boss", Admin: true},
		},
	}, nil, nil)
	require.NoError(t, err)
	const (
		yes   = ""
		no    = "no grant"
		owned = "it belongs to dataset"
	)
	for _, c := range []struct {
		schema, name string
		want         map[string]string // by role; what is not there is refused for want of a grant
	}{
		{"events", "clicks", map[string]string{"schema": yes, "table": yes, "all": yes, "boss": yes}},
		{"EVENTS", "Clicks", map[string]string{"schema": yes, "table": yes, "all": yes, "boss": yes}},
		{"events", "new", map[string]string{"schema": yes, "all": yes, "boss": yes}},
		{"main", "t", map[string]string{"table": yes, "all": yes, "boss": yes}},
		{"main", "events", map[string]string{"schema": yes, "all": yes, "boss": yes}},
		{"main", "m_data", map[string]string{"dataset": owned, "all": owned, "boss": owned}},
		{"Main", "M_DATA", map[string]string{"dataset": owned, "all": owned, "boss": owned}},
		{"shop", "orders", map[string]string{"dataset": owned, "all": owned, "boss": owned}},
		{"SHOP", "mine", map[string]string{"dataset": owned, "all": owned, "boss": owned}},
		{"main", "secrets", map[string]string{"all": owned, "boss": owned}},
		{"main", "elsewhere", map[string]string{"all": yes, "boss": yes}},
	} {
		for _, role := range []string{"schema", "table", "dataset", "all", "reads", "boss", "unknown", ""} {
			want, ok := c.want[role]
			if !ok {
				want = no
			}
			err := a.CanWrite(Principal{User: "u", Role: role}, c.schema, c.name)
			if want == yes {
				assert.NoError(t, err, "%s writes %s.%s", role, c.schema, c.name)
				continue
			}
			assert.ErrorContains(t, err, want, "%s writes %s.%s", role, c.schema, c.name)
			assert.Equal(t, fault.Forbidden, fault.CodeOf(err))
		}
	}
	// The right to write is not that to read, and syncs are started as before.
	assert.Error(t, a.CanRead(Principal{Role: "schema"}, "events", "events.clicks"))
	assert.NoError(t, a.CanSync(Principal{Role: "dataset"}, "shop"))
	for name, want := range map[Object]string{{Schema: "main", Name: "m_data"}: "m", {Schema: "events", Name: "clicks"}: "events", {Schema: "main", Name: "T"}: "T", {Schema: "events", Name: "gone"}: ""} {
		got, ok := a.Owner(name.Schema, name.Name)
		assert.Equal(t, want, got)
		assert.Equal(t, want != "", ok)
	}
	_, err = New(Config{Roles: []Role{{Name: "r", Limits: Limits{PutRows: -1}}}}, nil, nil)
	assert.Equal(t, fault.Config, fault.CodeOf(err))
}
