package flightsql

import (
	"context"
	"strings"
	"testing"

	"github.com/apache/arrow-adbc/go/adbc"
	driver "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-adbc/go/adbc/validation"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"github.com/stretchr/testify/suite"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/query/ingest"
)

// quirks says to ADBC's own suite what this server does otherwise than others, each with its reason.
type quirks struct {
	k   *kit
	mem *memory.CheckedAllocator
}

func (q *quirks) SetupDriver(t *testing.T) adbc.Driver {
	q.k = newKit(t, kitOptions{})
	q.mem = memory.NewCheckedAllocator(memory.DefaultAllocator)
	return driver.NewDriver(q.mem)
}

func (q *quirks) TearDownDriver(t *testing.T, _ adbc.Driver) { q.mem.AssertSize(t, 0) }

func (q *quirks) DatabaseOptions() map[string]string {
	return map[string]string{adbc.OptionKeyURI: "grpc+tcp://" + q.k.srv.Addr().String()}
}

func (q *quirks) BindParameter(int) string { return "?" }

// The driver of this version has no bulk ingest; TestBulkIngest takes arrow's client.
func (q *quirks) SupportsBulkIngest(string) bool { return false }

func (q *quirks) SupportsConcurrentStatements() bool { return true }
func (q *quirks) SupportsCurrentCatalogSchema() bool { return true }
func (q *quirks) SupportsGetSetOptions() bool        { return true }
func (q *quirks) SupportsExecuteSchema() bool        { return true }
func (q *quirks) SupportsPartitionedData() bool      { return true }
func (q *quirks) SupportsTransactions() bool         { return true }
func (q *quirks) SupportsGetParameterSchema() bool   { return true }

// Flight SQL has no command for statistics.
func (q *quirks) SupportsStatistics() bool { return false }

func (q *quirks) SupportsDynamicParameterBinding() bool { return true }

// Without bulk ingest there is none.
func (q *quirks) SupportsErrorIngestIncompatibleSchema() bool { return false }

func (q *quirks) GetMetadata(code adbc.InfoCode) any {
	switch code {
	case adbc.InfoDriverName:
		return "ADBC Flight SQL Driver - Go"
	case adbc.InfoDriverVersion, adbc.InfoDriverArrowVersion:
		return "(unknown or development build)"
	case adbc.InfoDriverADBCVersion:
		return adbc.AdbcVersion1_1_0
	case adbc.InfoVendorName:
		return "Pintail"
	case adbc.InfoVendorVersion:
		return "1.2.3"
	case adbc.InfoVendorArrowVersion:
		return arrow.PkgVersion
	}
	return nil
}

// CreateSampleTable puts the rows as a client does: the server takes no INSERT.
func (q *quirks) CreateSampleTable(table string, b arrow.RecordBatch) error {
	r, err := array.NewRecordReader(b.Schema(), []arrow.RecordBatch{b})
	if err != nil {
		return err
	}
	defer r.Release()
	_, err = q.k.srv.opts.Ingest.Ingest(context.Background(), access.Local(), ingest.Target{Schema: mainSchema, Table: table, Mode: ingest.Replace}, r)
	return err
}

func (q *quirks) SampleTableSchemaMetadata(table string, dt arrow.DataType) arrow.Metadata {
	name := map[arrow.Type]string{arrow.INT64: "BIGINT", arrow.STRING: "VARCHAR"}[dt.ID()]
	return columnMetadata("pintail", Table{Schema: mainSchema, Name: table}, arrow.Metadata{}, name)
}

func (q *quirks) DropTable(c adbc.Connection, table string) error {
	st, err := c.NewStatement()
	if err != nil {
		return err
	}
	if err := st.SetSqlQuery(`DROP TABLE IF EXISTS ` + table); err != nil {
		return err
	}
	if _, err = st.ExecuteUpdate(context.Background()); err != nil {
		return err
	}
	return st.Close()
}

func (q *quirks) Catalog() string         { return "pintail" }
func (q *quirks) DBSchema() string        { return mainSchema }
func (q *quirks) Alloc() memory.Allocator { return q.mem }

func TestADBCSuite(t *testing.T) {
	q := &quirks{}
	suite.Run(t, &validation.DatabaseTests{Quirks: q})
	suite.Run(t, &validation.ConnectionTests{Quirks: q})
	suite.Run(t, &validation.StatementTests{Quirks: q})
}

// TestADBC goes the way of ADBC's users: user and password, autocommit off as Python's DBAPI has it, bulk ingest, commit.
func TestADBC(t *testing.T) {
	k := newKit(t, kitOptions{users: true})
	db, err := driver.NewDriver(memory.DefaultAllocator).NewDatabase(map[string]string{
		adbc.OptionKeyURI: "grpc+tcp://" + k.srv.Addr().String(), adbc.OptionKeyUsername: "admin", adbc.OptionKeyPassword: "adminable"})
	require.NoError(t, err)
	defer validation.CheckedClose(t, db)
	ctx := t.Context()
	c, err := db.Open(ctx)
	require.NoError(t, err)
	defer validation.CheckedClose(t, c)
	require.NoError(t, c.(adbc.PostInitOptions).SetOption(adbc.OptionKeyAutoCommit, adbc.OptionValueDisabled))
	st, err := c.NewStatement()
	require.NoError(t, err)
	require.NoError(t, st.SetSqlQuery("CREATE TABLE events.raw (batch_id BIGINT)"))
	_, err = st.ExecuteUpdate(ctx)
	require.NoError(t, err)
	var refusal adbc.Error
	_, err = st.ExecuteUpdate(ctx)
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, adbc.StatusAlreadyExists, refusal.Code)
	require.NoError(t, c.Commit(ctx))
	b := sample(7, 1000)
	defer b.Release()
	_, err = put(ctx, k.client("admin-admin").Client, path("events.raw"), b.Schema(), b)
	require.Error(t, err, "the table lacks columns")
	_, err = put(ctx, k.client("admin-admin").Client, command(`{"table": "events.raw", "mode": "replace"}`), b.Schema(), b)
	require.NoError(t, err)
	require.NoError(t, st.SetSqlQuery("SELECT count(*) FROM events.raw WHERE batch_id = ?"))
	require.NoError(t, st.Prepare(ctx))
	p, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "p", Type: arrow.PrimitiveTypes.Int64}}, nil), strings.NewReader(`[{"p": 7}, {"p": 8}]`))
	require.NoError(t, err)
	defer p.Release()
	require.NoError(t, st.Bind(ctx, p))
	r, _, err := st.ExecuteQuery(ctx)
	require.NoError(t, err)
	rows, err := lines(r)
	r.Release()
	require.NoError(t, err)
	require.Equal(t, []string{"1000", "0"}, rows)
	require.NoError(t, st.Close())
	require.NoError(t, c.Rollback(ctx))
}
