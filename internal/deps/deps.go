//go:build deps

package deps

import (
	_ "github.com/apache/arrow-adbc/go/adbc"
	_ "github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	_ "github.com/apache/arrow-adbc/go/adbc/validation"
	_ "github.com/apache/arrow-go/v18/arrow"
	_ "github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	_ "github.com/apache/arrow-go/v18/arrow/ipc"
	_ "github.com/pganalyze/pg_query_go/v6"
	_ "github.com/xdg-go/scram"
	_ "github.com/lib/pq"
	_ "google.golang.org/grpc"
)
