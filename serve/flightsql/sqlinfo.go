package flightsql

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
)

// What the SQL has beside SQL-92's reserved words, and beside functions that every SQL has; not all, but what clients offer for
// completion.
var (
	keywords         = []string{"ANTI", "ASOF", "EXCLUDE", "ILIKE", "LATERAL", "LIMIT", "MACRO", "OFFSET", "PIVOT", "POSITIONAL", "QUALIFY", "REPLACE", "SAMPLE", "SEMI", "SUMMARIZE", "TRY_CAST", "UNPIVOT"}
	numericFunctions = []string{"abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "cot", "degrees", "exp", "floor", "ln", "log", "log10", "log2", "pi", "pow", "radians", "round", "sign", "sin", "sqrt", "tan", "trunc"}
	stringFunctions  = []string{"ascii", "chr", "concat", "contains", "ends_with", "instr", "left", "length", "lower", "lpad", "ltrim", "regexp_extract", "regexp_matches", "regexp_replace", "repeat", "replace", "reverse", "right", "rpad", "rtrim", "split_part", "starts_with", "strip_accents", "substring", "trim", "upper"}
	systemFunctions  = []string{"coalesce", "current_database", "current_schema", "ifnull", "typeof", "version"}
	dateFunctions    = []string{"age", "current_date", "date_diff", "date_part", "date_trunc", "dayname", "dayofweek", "dayofyear", "epoch", "extract", "hour", "last_day", "make_date", "make_timestamp", "minute", "month", "monthname", "now", "quarter", "second", "strftime", "strptime", "time_bucket", "today", "week", "year"}
)

// bits makes a bitmask of an enumeration's values.
func bits[E ~int32](values ...E) int32 {
	m := int32(0)
	for _, v := range values {
		m |= 1 << v
	}
	return m
}

const (
	nameBytesMax      = 1 << 16 // DuckDB has no bound; clients make buffers by it
	statementBytesMax = 1 << 20
)

// infos is what clients ask about the server and its SQL: all that drivers of JDBC and ADBC read.
func infos(version string) map[flightsql.SqlInfo]any {
	if version == "" {
		version = "unknown"
	}
	joins := int64(pb.SqlOuterJoinsSupportLevel_SQL_FULL_OUTER_JOINS)
	readOnly := bits(pb.SqlSupportedResultSetConcurrency_SQL_RESULT_SET_CONCURRENCY_UNSPECIFIED, pb.SqlSupportedResultSetConcurrency_SQL_RESULT_SET_CONCURRENCY_READ_ONLY)
	return map[flightsql.SqlInfo]any{
		flightsql.SqlInfoFlightSqlServerName:                        "Pintail",
		flightsql.SqlInfoFlightSqlServerVersion:                     version,
		flightsql.SqlInfoFlightSqlServerArrowVersion:                arrow.PkgVersion,
		flightsql.SqlInfoFlightSqlServerReadOnly:                    false,
		flightsql.SqlInfoFlightSqlServerSql:                         true,
		flightsql.SqlInfoFlightSqlServerSubstrait:                   false,
		flightsql.SqlInfoFlightSqlServerSubstraitMinVersion:         "",
		flightsql.SqlInfoFlightSqlServerSubstraitMaxVersion:         "",
		flightsql.SqlInfoFlightSqlServerTransaction:                 int32(flightsql.SqlTransactionTransaction),
		flightsql.SqlInfoFlightSqlServerCancel:                      true,
		flightsql.SqlInfoFlightSqlServerStatementTimeout:            int32(0),
		flightsql.SqlInfoFlightSqlServerTransactionTimeout:          int32(preparedLife.Milliseconds()),
		flightsql.SqlInfoFlightSqlServerBulkIngestion:               true,
		flightsql.SqlInfoFlightSqlServerIngestTransactionsSupported: false,

		flightsql.SqlInfoDDLCatalog:              false,
		flightsql.SqlInfoDDLSchema:               false,
		flightsql.SqlInfoDDLTable:                true,
		flightsql.SqlInfoIdentifierCase:          int64(pb.SqlSupportedCaseSensitivity_SQL_CASE_SENSITIVITY_CASE_INSENSITIVE),
		flightsql.SqlInfoIdentifierQuoteChar:     `"`,
		flightsql.SqlInfoQuotedIdentifierCase:    int64(pb.SqlSupportedCaseSensitivity_SQL_CASE_SENSITIVITY_CASE_INSENSITIVE),
		flightsql.SqlInfoAllTablesAreASelectable: true,
		flightsql.SqlInfoNullOrdering:            int64(pb.SqlNullOrdering_SQL_NULLS_SORTED_AT_END),
		flightsql.SqlInfoKeywords:                keywords,
		flightsql.SqlInfoNumericFunctions:        numericFunctions,
		flightsql.SqlInfoStringFunctions:         stringFunctions,
		flightsql.SqlInfoSystemFunctions:         systemFunctions,
		flightsql.SqlInfoDateTimeFunctions:       dateFunctions,
		flightsql.SqlInfoSearchStringEscape:      `\`,
		flightsql.SqlInfoExtraNameChars:          "",

		flightsql.SqlInfoSupportsColumnAliasing:                 true,
		flightsql.SqlInfoNullPlusNullIsNull:                     true,
		flightsql.SqlInfoSupportsConvert:                        map[int32][]int32{},
		flightsql.SqlInfoSupportsTableCorrelationNames:          true,
		flightsql.SqlInfoSupportsDifferentTableCorrelationNames: false,
		flightsql.SqlInfoSupportsExpressionsInOrderBy:           true,
		flightsql.SqlInfoSupportsOrderByUnrelated:               true,
		flightsql.SqlInfoSupportedGroupBy:                       bits(pb.SqlSupportedGroupBy_SQL_GROUP_BY_UNRELATED, pb.SqlSupportedGroupBy_SQL_GROUP_BY_BEYOND_SELECT),
		flightsql.SqlInfoSupportsLikeEscapeClause:               true,
		flightsql.SqlInfoSupportsNonNullableColumns:             true,
		flightsql.SqlInfoSupportedGrammar:                       bits(pb.SupportedSqlGrammar_SQL_MINIMUM_GRAMMAR, pb.SupportedSqlGrammar_SQL_CORE_GRAMMAR, pb.SupportedSqlGrammar_SQL_EXTENDED_GRAMMAR),
		flightsql.SqlInfoANSI92SupportedLevel:                   bits(pb.SupportedAnsi92SqlGrammarLevel_ANSI92_ENTRY_SQL, pb.SupportedAnsi92SqlGrammarLevel_ANSI92_INTERMEDIATE_SQL),
		flightsql.SqlInfoSupportsIntegrityEnhancementFacility:   false,
		flightsql.SqlInfoOuterJoinsSupportLevel:                 joins,
		flightsql.SqlInfoSchemaTerm:                             "schema",
		flightsql.SqlInfoProcedureTerm:                          "procedure",
		flightsql.SqlInfoCatalogTerm:                            "catalog",
		flightsql.SqlInfoCatalogAtStart:                         true,
		flightsql.SqlInfoSchemasSupportedActions:                int32(0),
		flightsql.SqlInfoCatalogsSupportedActions:               int32(0),
		flightsql.SqlInfoSupportedPositionedCommands:            int32(0),
		flightsql.SqlInfoSelectForUpdateSupported:               false,
		flightsql.SqlInfoStoredProceduresSupported:              false,
		flightsql.SqlInfoSupportedSubqueries: bits(pb.SqlSupportedSubqueries_SQL_SUBQUERIES_IN_COMPARISONS, pb.SqlSupportedSubqueries_SQL_SUBQUERIES_IN_EXISTS,
			pb.SqlSupportedSubqueries_SQL_SUBQUERIES_IN_INS, pb.SqlSupportedSubqueries_SQL_SUBQUERIES_IN_QUANTIFIEDS),
		flightsql.SqlInfoCorrelatedSubqueriesSupported: true,
		flightsql.SqlInfoSupportedUnions:               bits(pb.SqlSupportedUnions_SQL_UNION, pb.SqlSupportedUnions_SQL_UNION_ALL),

		// 0 is no limit, or none that is known.
		flightsql.SqlInfoMaxBinaryLiteralLen:     int64(0),
		flightsql.SqlInfoMaxCharLiteralLen:       int64(0),
		flightsql.SqlInfoMaxColumnNameLen:        int64(nameBytesMax),
		flightsql.SqlInfoMaxColumnsInGroupBy:     int64(0),
		flightsql.SqlInfoMaxColumnsInIndex:       int64(0),
		flightsql.SqlInfoMaxColumnsInOrderBy:     int64(0),
		flightsql.SqlInfoMaxColumnsInSelect:      int64(0),
		flightsql.SqlInfoMaxColumnsInTable:       int64(0),
		flightsql.SqlInfoMaxConnections:          int64(0),
		flightsql.SqlInfoMaxCursorNameLen:        int64(0),
		flightsql.SqlInfoMaxIndexLen:             int64(0),
		flightsql.SqlInfoDBSchemaNameLen:         int64(nameBytesMax),
		flightsql.SqlInfoMaxProcedureNameLen:     int64(0),
		flightsql.SqlInfoMaxCatalogNameLen:       int64(nameBytesMax),
		flightsql.SqlInfoMaxRowSize:              int64(0),
		flightsql.SqlInfoMaxRowSizeIncludesBlobs: true,
		flightsql.SqlInfoMaxStatementLen:         int64(statementBytesMax),
		flightsql.SqlInfoMaxStatements:           int64(handlesUserMax),
		flightsql.SqlInfoMaxTableNameLen:         int64(nameBytesMax),
		flightsql.SqlInfoMaxTablesInSelect:       int64(0),
		flightsql.SqlInfoMaxUsernameLen:          int64(0),

		// Each statement is a transaction that sees one state of the data.
		flightsql.SqlInfoDefaultTransactionIsolation:                         int64(pb.SqlTransactionIsolationLevel_SQL_TRANSACTION_READ_COMMITTED),
		flightsql.SqlInfoTransactionsSupported:                               true,
		flightsql.SqlInfoSupportedTransactionsIsolationlevels:                bits(pb.SqlTransactionIsolationLevel_SQL_TRANSACTION_READ_COMMITTED),
		flightsql.SqlInfoDataDefinitionCausesTransactionCommit:               true,
		flightsql.SqlInfoDataDefinitionsInTransactionsIgnored:                false,
		flightsql.SqlInfoSupportedResultSetTypes:                             bits(pb.SqlSupportedResultSetType_SQL_RESULT_SET_TYPE_FORWARD_ONLY),
		flightsql.SqlInfoSupportedConcurrenciesForResultSetUnspecified:       readOnly,
		flightsql.SqlInfoSupportedConcurrenciesForResultSetForwardOnly:       readOnly,
		flightsql.SqlInfoSupportedConcurrenciesForResultSetScrollSensitive:   int32(0),
		flightsql.SqlInfoSupportedConcurrenciesForResultSetScrollInsensitive: int32(0),
		flightsql.SqlInfoBatchUpdatesSupported:                               false,
		flightsql.SqlInfoSavePointsSupported:                                 false,
		flightsql.SqlInfoNamedParametersSupported:                            false,
		flightsql.SqlInfoLocatorsUpdateCopy:                                  false,
		flightsql.SqlInfoStoredFunctionsUsingCallSyntaxSupported:             false,
	}
}

func (s *sqlServer) registerInfos() error {
	for id, v := range infos(s.opts.Version) {
		if err := s.RegisterSqlInfo(id, v); err != nil {
			return fmt.Errorf("describe the server: %w", err)
		}
	}
	return nil
}

// GetFlightInfoSqlInfo is for DoGetSqlInfo.
func (s *sqlServer) GetFlightInfoSqlInfo(ctx context.Context, _ flightsql.GetSqlInfo, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return s.BaseServer.GetFlightInfoSqlInfo(ctx, nil, desc)
}

// knownInfos leaves those out that are not known: drivers ask for many at once, and newer ones for more.
type knownInfos []uint32

func (k knownInfos) GetInfo() []uint32 { return k }

// DoGetSqlInfo gives what was asked for, as far as it is known; all without a list.
func (s *sqlServer) DoGetSqlInfo(ctx context.Context, req flightsql.GetSqlInfo) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	all := infos(s.opts.Version)
	var ids knownInfos
	for _, id := range req.GetInfo() {
		if _, ok := all[flightsql.SqlInfo(id)]; ok {
			ids = append(ids, id)
		}
	}
	if len(req.GetInfo()) == 0 {
		for id := range all {
			ids = append(ids, uint32(id))
		}
		slices.Sort(ids)
	}
	if len(ids) == 0 {
		return s.one(ctx, schema_ref.SqlInfo, func(*array.RecordBuilder) {})
	}
	return s.BaseServer.DoGetSqlInfo(ctx, ids)
}
