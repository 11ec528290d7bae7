package pgsql

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/pintaildb/pintail/query/pgtype"
	"github.com/pintaildb/pintail/store"
)

// The OIDs of PostgreSQL's own schemas; those of the file's schemas are derived from their names.
const (
	oidPgCatalog   = 11
	oidPublic      = 2200
	oidInformation = 13207
)

// relation is what translating needs to know of a table or view.
type relation struct {
	names []string
	kinds map[string]string // the columns' types by their names
}

// state is the catalog as it was filled last; a new one takes its place as a whole.
type state struct {
	mark        string
	relations   map[string]relation // by "schema.name", folded
	schemas     map[string]bool     // folded
	publicTaken bool                // the file has a schema of its own that is called public
	cache       cache
}

// How often statements look whether the tables have changed: those that read the catalog, and others, to which only the types of
// columns matter.
const (
	refreshEvery = time.Second
	typesEvery   = 5 * time.Second
)

// Refresh fills the catalog with the file's tables and the roles' grants as they are now. When nothing has changed it costs two looks
// at DuckDB's own lists.
func (t *Translator) Refresh(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refresh(ctx)
}

// lookAround refreshes when the last look is older than every. A failure leaves the catalog as it was.
func (t *Translator) lookAround(ctx context.Context, every time.Duration) {
	old := func() bool { return time.Now().UnixNano()-t.looked.Load() > int64(every) }
	if !old() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !old() {
		return
	}
	if err := t.refresh(ctx); err != nil && ctx.Err() == nil {
		t.log.Warn("the catalog for PostgreSQL clients could not be brought up to date", "error", err)
	}
}

func (t *Translator) refresh(ctx context.Context) error {
	mark, err := t.store.RelationsMark(ctx)
	if err != nil {
		return err
	}
	if old := t.state.Load(); old != nil && old.mark == mark && t.granted == t.access.Mark() && time.Since(t.filled) < fillEvery {
		t.looked.Store(time.Now().UnixNano())
		return nil
	}
	granted := t.access.Mark()
	list, err := t.store.Relations(ctx)
	if err != nil {
		return err
	}
	c := t.collect(list)
	if err := t.fill(ctx, c); err != nil {
		return err
	}
	st := &state{mark: mark, relations: map[string]relation{}, schemas: map[string]bool{}, publicTaken: c.publicTaken}
	for _, r := range list {
		known := relation{kinds: map[string]string{}}
		for _, col := range r.Columns {
			known.names = append(known.names, col.Name)
			known.kinds[col.Name] = duckKind(col.Type)
		}
		st.relations[fold(r.Schema)+"."+fold(r.Name)] = known
		st.schemas[fold(r.Schema)] = true
	}
	t.state.Store(st)
	t.granted, t.filled = granted, time.Now()
	t.looked.Store(t.filled.UnixNano())
	return nil
}

// fillEvery bounds the age of what no mark tells of: how many rows the tables have.
const fillEvery = time.Minute

// The rows of the base tables, as they are handed to DuckDB.
type (
	namespaceRow struct {
		OID    uint32 `json:"oid"`
		Name   string `json:"name"`
		System bool   `json:"system"`
	}
	relationRow struct {
		OID     uint32  `json:"oid"`
		Nsp     uint32  `json:"nsp"`
		NspName string  `json:"nspname"`
		Name    string  `json:"name"`
		Kind    string  `json:"kind"`
		Tuples  int64   `json:"tuples"`
		Natts   int     `json:"natts"`
		Def     *string `json:"def"`
		Comment *string `json:"comment"`
		HasKey  bool    `json:"haskey"`
		System  bool    `json:"system"`
	}
	columnRow struct {
		Rel     uint32  `json:"rel"`
		Num     int     `json:"num"`
		Name    string  `json:"name"`
		Type    uint32  `json:"type"`
		Typmod  int32   `json:"typmod"`
		NotNull bool    `json:"mandatory"`
		Comment *string `json:"comment"`
	}
	keyRow struct {
		OID      uint32   `json:"oid"`
		Rel      uint32   `json:"rel"`
		Index    uint32   `json:"index"`
		Name     string   `json:"name"`
		Cols     []int    `json:"cols"`
		ColNames []string `json:"colnames"`
	}
	grantRow struct {
		Role string `json:"role"`
		Rel  uint32 `json:"rel"`
	}
)

type content struct {
	namespaces  []namespaceRow
	relations   []relationRow
	columns     []columnRow
	keys        []keyRow
	grants      []grantRow
	publicTaken bool
}

func (t *Translator) collect(list []store.Relation) *content {
	c := &content{namespaces: []namespaceRow{{oidPgCatalog, "pg_catalog", true}, {oidPublic, "public", true}, {oidInformation, "information_schema", true}}}
	schemas := map[string]uint32{"main": oidPublic}
	for _, r := range list {
		if fold(r.Schema) == "public" {
			c.publicTaken = true
		}
	}
	shown := func(schema string) string {
		if schema == "main" && !c.publicTaken {
			return "public"
		}
		return schema
	}
	if c.publicTaken {
		schemas = map[string]uint32{"public": oidPublic}
	}
	for _, r := range list {
		if schemas[r.Schema] == 0 {
			oid := t.oids.of("schema", r.Schema)
			schemas[r.Schema] = oid
			c.namespaces = append(c.namespaces, namespaceRow{oid, r.Schema, false})
		}
	}
	roles := t.access.Roles()
	for _, r := range list {
		row := relationRow{OID: t.oids.of("relation", r.Schema, r.Name), Nsp: schemas[r.Schema], NspName: shown(r.Schema), Name: r.Name, Kind: "r", Tuples: r.Rows,
			Natts: len(r.Columns), Comment: text(r.Comment)}
		if r.View {
			row.Kind, row.Def = "v", text(viewQuery(r.Definition))
		}
		nums := map[string]int{}
		for i, col := range r.Columns {
			typ := pgtype.Of(col.Type)
			c.columns = append(c.columns, columnRow{row.OID, i + 1, col.Name, typ.OID, typ.Mod, col.NotNull, text(col.Comment)})
			nums[fold(col.Name)] = i + 1
		}
		owned := []uint32{row.OID}
		if key, ok := t.key(r, row.OID, nums); ok {
			row.HasKey = true
			for _, n := range key.Cols {
				c.columns[len(c.columns)-len(r.Columns)+n-1].NotNull = true
			}
			c.keys = append(c.keys, key)
			c.relations = append(c.relations, relationRow{OID: key.Index, Nsp: row.Nsp, NspName: row.NspName, Name: key.Name, Kind: "i", Tuples: r.Rows, Natts: len(key.Cols)})
			owned = append(owned, key.Index)
		}
		c.relations = append(c.relations, row)
		for _, role := range roles {
			if t.access.Reads(role, r.Schema, r.Name) {
				for _, oid := range owned {
					c.grants = append(c.grants, grantRow{role, oid})
				}
			}
		}
	}
	c.addSystem()
	return c
}

// key is the dataset's key of a table as a primary key.
func (t *Translator) key(r store.Relation, rel uint32, nums map[string]int) (keyRow, bool) {
	if t.keys == nil || r.View {
		return keyRow{}, false
	}
	k := keyRow{Rel: rel, Name: r.Name + "_pkey"}
	for _, name := range t.keys.Key(r.Schema, r.Name) {
		n := nums[fold(name)]
		if n == 0 {
			return keyRow{}, false
		}
		k.Cols, k.ColNames = append(k.Cols, n), append(k.ColNames, r.Columns[n-1].Name)
	}
	k.OID, k.Index = t.oids.of("constraint", r.Schema, k.Name), t.oids.of("relation", r.Schema, k.Name)
	return k, len(k.Cols) > 0
}

// addSystem enters PostgreSQL's own relations.
func (c *content) addSystem() {
	for i := range systemRelations {
		s := &systemRelations[i]
		nsp := uint32(oidPgCatalog)
		if s.schema != "pg_catalog" {
			nsp = oidInformation
		}
		c.relations = append(c.relations, relationRow{OID: s.oid, Nsp: nsp, NspName: s.schema, Name: s.name, Kind: s.kind, Natts: len(s.columns), System: true})
		for k, col := range s.columns {
			_, oid := systemType(col.typ)
			c.columns = append(c.columns, columnRow{s.oid, k + 1, col.name, oid, -1, col.notNull, nil})
		}
	}
}

// fill replaces what the base tables hold, at once for those who read.
func (t *Translator) fill(ctx context.Context, c *content) error {
	tables := []struct {
		name, form string
		rows       any
	}{
		{"namespaces", `[{"oid":"UINTEGER","name":"VARCHAR","system":"BOOLEAN"}]`, c.namespaces},
		{"relations", `[{"oid":"UINTEGER","nsp":"UINTEGER","nspname":"VARCHAR","name":"VARCHAR","kind":"VARCHAR","tuples":"BIGINT","natts":"INTEGER","def":"VARCHAR","comment":"VARCHAR","haskey":"BOOLEAN","system":"BOOLEAN"}]`, c.relations},
		{"columns", `[{"rel":"UINTEGER","num":"SMALLINT","name":"VARCHAR","type":"UINTEGER","typmod":"INTEGER","mandatory":"BOOLEAN","comment":"VARCHAR"}]`, c.columns},
		{"keys", `[{"oid":"UINTEGER","rel":"UINTEGER","index":"UINTEGER","name":"VARCHAR","cols":["SMALLINT"],"colnames":["VARCHAR"]}]`, c.keys},
		{"grants", `[{"role":"VARCHAR","rel":"UINTEGER"}]`, c.grants},
	}
	return t.store.InMemory(ctx, func(exec func(sql string, args ...any) error) error {
		for _, table := range tables {
			doc, err := json.Marshal(table.rows)
			if err != nil {
				return err
			}
			name := "memory." + baseSchema + "." + table.name
			if err := exec("DELETE FROM " + name); err != nil {
				return err
			}
			if err := exec("INSERT INTO "+name+" SELECT r.* FROM (SELECT unnest(from_json($1, '"+table.form+"')) AS r)", string(doc)); err != nil {
				return err
			}
		}
		return nil
	})
}

// text is a text of the catalog that is NULL when there is none.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// viewQuery takes CREATE VIEW … AS off a view's definition.
func viewQuery(definition string) string {
	if _, query, ok := strings.Cut(definition, " AS "); ok {
		return " " + query
	}
	return definition
}

// oidMap derives OIDs from names, so that they are the same after a restart and after a table was made anew. Two names that come to one
// number keep, within the process, what they were given first.
type oidMap struct {
	byName map[string]uint32
	taken  map[uint32]bool
}

// The first that a server gives to what users make, and the number of those that fit into a signed word.
const (
	oidFirst = 16400
	oidCount = 1<<31 - oidFirst
)

func (o *oidMap) of(kind string, names ...string) uint32 {
	name := kind + "\x00" + strings.Join(names, "\x00")
	if oid, ok := o.byName[name]; ok {
		return oid
	}
	if o.byName == nil {
		o.byName, o.taken = map[string]uint32{}, map[uint32]bool{}
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	oid := uint32(oidFirst + h.Sum64()%oidCount)
	for o.taken[oid] {
		h.Write([]byte{0})
		oid = uint32(oidFirst + h.Sum64()%oidCount)
	}
	o.byName[name], o.taken[oid] = oid, true
	return oid
}

// fold is DuckDB's case folding of names: ASCII letters only.
func fold(s string) string {
	if !slices.ContainsFunc([]byte(s), func(c byte) bool { return c >= 'A' && c <= 'Z' }) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
