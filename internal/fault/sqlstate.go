package fault

// sqlStates are the codes' SQLSTATEs, for PostgreSQL's protocol. What a statement got wrong has many of them: see serve/pgwire.
var sqlStates = map[Code]string{
	Config:            "F0000", // config_file_error
	Usage:             "22023", // invalid_parameter_value
	NotFound:          "42704", // undefined_object
	Running:           "55006", // object_in_use
	Unauthenticated:   "28P01", // invalid_password
	Forbidden:         "42501", // insufficient_privilege
	InvalidSQL:        "42000", // syntax_error_or_access_rule_violation
	ResultChanged:     "0A000", // feature_not_supported, as PostgreSQL has it for plans
	Limit:             "53400", // configuration_limit_exceeded
	Locked:            "55006",
	SourceUnavailable: "08001", // sqlclient_unable_to_establish_sqlconnection
	SourceConflict:    "40001", // serialization_failure
	SourceSQL:         "42000",
	SourcePrivilege:   "42501",
	SourceTimeout:     "57014", // query_canceled
	SlotLost:          "55000", // object_not_in_prerequisite_state
	SchemaLost:        "55000",
	ShapeMismatch:     "55000",
	DataMismatch:      "55000",
	DuplicateKey:      "23505", // unique_violation
	NullKey:           "23502", // not_null_violation
	OutOfRange:        "22003", // numeric_value_out_of_range
	CapReached:        "54000", // program_limit_exceeded
	DiskFull:          "53100", // disk_full
	OutOfMemory:       "53200", // out_of_memory
	Cancelled:         "57014",
	Unavailable:       "57P03", // cannot_connect_now: worth another try
	Differences:       "55000",
	Internal:          "XX000", // internal_error
}

// SQLState reads err's row.
func SQLState(err error) string { return sqlStates[CodeOf(err)] }
