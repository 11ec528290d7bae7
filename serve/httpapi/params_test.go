package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
	"github.com/pintaildb/pintail/store"
)

// FuzzParams decodes the body of a statement, and binds its parameters in DuckDB: whatever comes, there is an answer or an error that
// is the client's, and whole numbers and texts arrive as they were sent.
func FuzzParams(f *testing.F) {
	for _, seed := range []string{
		`[1, 2.5, "x", null, true]`, `{"a": 1, "b": [1, 2, null]}`, `[9223372036854775807]`, `[9223372036854775808]`, `[-9223372036854775808]`, `[1e400]`, `[1e-400]`, `[0.1]`, `[123456789012345678901234567890.123]`, `[-0]`, `[[]]`,
		`[[1, "x", null, [2]]]`, `[[1, 2.5]]`, `[[[1], ["x"]]]`, `[[1, true]]`, `[{"a": 1}]`, `["\u0000"]`, `["a\u0000b"]`, `["\ud800"]`, `["é😀"]`, `{"": 1}`, `{"a\u0000": 1}`, `{"a": {"b": 1}}`, `null`, `1`, `"x"`, `[`, `{"a":1,"a":2}`, `{"A": 1}`, `{"2": 0}`,
		`["'; DROP TABLE t; --"]`, "[\"\xff\"]", strings.Repeat("[", 5000) + strings.Repeat("]", 5000), `[` + strings.Repeat("[", 16) + `1` + strings.Repeat("]", 16) + `]`, `[1E5]`, `[12e1]`, `[1.0]`,
	} {
		f.Add([]byte(seed))
	}
	ctx := context.Background()
	st, err := store.Open(ctx, store.Options{Path: filepath.Join(f.TempDir(), "f.duckdb"), MemoryLimit: 1 << 30, Threads: 1})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, st.Close(ctx)) })
	f.Fuzz(func(t *testing.T, params []byte) {
		var body SQLRequest
		whole := append(append([]byte(`{"sql":"SELECT 1","params":`), params...), '}')
		if err := json.Unmarshal(whole, &body); err != nil {
			return
		}
		req, err := body.request()
		require.NoError(t, err)
		var columns []string
		for i := range req.Params {
			columns = append(columns, fmt.Sprintf("$%d", i+1))
		}
		for name := range req.Named {
			columns = append(columns, "$"+name)
		}
		if len(columns) == 0 || len(columns) > 10 {
			return
		}
		se, err := st.Session(t.Context())
		require.NoError(t, err)
		defer se.Close()
		stmt, err := se.Prepare(t.Context(), "SELECT "+strings.Join(columns, ", "))
		if err != nil { // the names of parameters come from the input
			require.Equal(t, fault.InvalidSQL, fault.CodeOf(err), "%v", err)
			return
		}
		rows, err := stmt.Query(t.Context(), req.Params, req.Named)
		if err != nil {
			require.Equal(t, fault.InvalidSQL, fault.CodeOf(err), "%v", err)
			return
		}
		chunk, err := rows.Next()
		require.NoError(t, err)
		require.Equal(t, 1, chunk.Len())
		for i, v := range req.Params {
			got := string(chunk.AppendText(nil, i, 0))
			switch v := v.(type) {
			case nil:
				require.True(t, chunk.IsNull(i, 0))
			case string:
				require.Equal(t, v, got)
			case json.Number:
				if n, err := v.Int64(); err == nil {
					require.Equal(t, strconv.FormatInt(n, 10), got)
				}
			}
		}
	})
}

func TestParamsAreNotNestedWithoutEnd(t *testing.T) {
	k := newKit(t, kitOptions{})
	nested := func(depth int) json.RawMessage {
		return json.RawMessage(strings.Repeat("[", depth+1) + "1" + strings.Repeat("]", depth+1))
	}
	require.Equal(t, 200, k.sql(map[string]any{"sql": "SELECT $1", "params": nested(paramDepthMax)}).status)
	for _, depth := range []int{paramDepthMax + 1, 5000} {
		require.Contains(t, k.sql(map[string]any{"sql": "SELECT $1", "params": nested(depth)}).fails(400, fault.Usage), "nested")
	}
}
