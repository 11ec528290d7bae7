package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/pintaildb/pintail/internal/fault"
)

// tableRowsMax is how many rows --format table shows; csv and json have no limit.
const tableRowsMax = 1000

// sqlBytesMax is how long a statement may be that is read from standard input.
const sqlBytesMax = 1 << 20

func (a *app) queryCmd() *cobra.Command {
	var format string
	var limit int64
	var params, minLSN []string
	var deadline time.Duration
	c := &cobra.Command{
		Use:   `query "SELECT …"`,
		Short: "Run one SELECT on the copy",
		Long: `Run one SELECT on the copy; "-" reads it from standard input. --format csv has a header line, --format json is one
object per line. A table shows the first 1,000 rows.

` + exitHelp,
		Example: `  pintail query "SELECT status, count(*) FROM messages GROUP BY ALL"
  pintail query --format csv -p 7 "SELECT * FROM messages WHERE partner_id = $1"
  pintail query --min-lsn shop=0/16B3748 "SELECT count(*) FROM shop.orders"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sql := args[0]
			if sql == "-" {
				b, err := io.ReadAll(io.LimitReader(os.Stdin, sqlBytesMax+1))
				if err != nil {
					return fmt.Errorf("read the statement from standard input: %w", err)
				}
				sql = string(b)
			}
			switch {
			case len(sql) > sqlBytesMax: // what is left of it without its end may be another statement
				return &usageError{fmt.Errorf("the statement has more than %d bytes", sqlBytesMax)}
			case !utf8.ValidString(sql): // JSON would put other characters in their place
				return &usageError{errors.New("the statement is not UTF-8")}
			}
			formats := map[string]string{"table": "json", "csv": "csv", "json": "ndjson"}
			if formats[format] == "" {
				return &usageError{fmt.Errorf("--format %q: want table, csv or json", format)}
			}
			body := map[string]any{"sql": sql, "format": formats[format]}
			if len(params) > 0 {
				body["params"] = params
			}
			if len(minLSN) > 0 {
				at := map[string]string{}
				for _, text := range minLSN {
					dataset, lsn, ok := strings.Cut(text, "=")
					if !ok {
						return &usageError{fmt.Errorf("--min-lsn %q: want DATASET=LSN", text)}
					}
					at[dataset] = lsn
				}
				body["min_lsn"] = at
			}
			if deadline > 0 {
				body["deadline"] = deadline.String()
			}
			if limit == 0 && format == "table" {
				limit = tableRowsMax
			}
			if limit > 0 {
				body["limit"] = limit
			}
			ctx := cmd.Context()
			c, done, err := a.ask(ctx)
			if err != nil {
				return err
			}
			defer done()
			r, err := c.do(ctx, http.MethodPost, "/v0/sql", body)
			if err != nil {
				return err
			}
			defer r.Close()
			switch format {
			case "table":
				return a.printRows(r)
			case "json":
				return a.copyLines(r)
			}
			_, err = io.Copy(a.out, r)
			return cut(err)
		},
	}
	c.Flags().StringVar(&format, "format", "table", "table, csv or json")
	c.Flags().Int64Var(&limit, "limit", 0, "rows at most")
	c.Flags().StringArrayVar(&minLSN, "min-lsn", nil, "`DATASET=LSN`: wait until this dataset of mode: cdc is there in its source's log (pg_current_wal_lsn() after one's own commit)")
	c.Flags().DurationVar(&deadline, "deadline", 0, "give up after this time, such as 5s; waiting for --min-lsn ends after 5s without it")
	c.Flags().StringArrayVarP(&params, "param", "p", nil, "value for $1, $2, … in order")
	return c
}

// cut explains an answer that ended before its end.
func cut(err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.Unavailable, "the server's log says why", "the answer broke off: %w", err)
}

// copyLines copies an ndjson answer; an error that came after the first rows is its last line.
func (a *app) copyLines(r io.Reader) error {
	in := bufio.NewReader(r)
	out := bufio.NewWriter(a.out)
	for {
		line, err := in.ReadString('\n')
		if strings.HasPrefix(line, `{"error":`) {
			var e struct {
				Error struct{ Code, Message, Hint string }
			}
			if json.Unmarshal([]byte(line), &e) == nil && fault.Valid(fault.Code(e.Error.Code)) {
				_ = out.Flush()
				return fault.New(fault.Code(e.Error.Code), e.Error.Hint, "%s", e.Error.Message)
			}
		}
		if _, err := out.WriteString(line); err != nil {
			return err
		}
		if err == io.EOF {
			return out.Flush()
		}
		if err != nil {
			_ = out.Flush()
			return cut(err)
		}
	}
}

// printRows draws a json answer as a table.
func (a *app) printRows(r io.Reader) error {
	var res struct {
		Columns   []struct{ Name, Type string }
		Rows      [][]any
		RowCount  int64 `json:"row_count"`
		Truncated bool
		ElapsedMS float64 `json:"elapsed_ms"`
		Error     *struct{ Code, Message, Hint string }
	}
	d := json.NewDecoder(r)
	d.UseNumber()
	if err := d.Decode(&res); err != nil {
		return cut(err)
	}
	if res.Error != nil {
		return fault.New(fault.Code(res.Error.Code), res.Error.Hint, "%s", res.Error.Message)
	}
	header := make([]any, len(res.Columns))
	for i, c := range res.Columns {
		header[i] = c.Name
	}
	t := a.table(header...)
	for _, row := range res.Rows {
		for i, v := range row {
			switch v := v.(type) {
			case nil:
				row[i] = "NULL"
			case map[string]any, []any:
				b, err := json.Marshal(v)
				if err != nil {
					return err
				}
				row[i] = string(b)
			}
		}
		t.AppendRow(table.Row(row))
	}
	t.Render()
	more := ""
	if res.Truncated {
		more = ", more exist: --limit N or --format csv shows them"
	}
	fmt.Fprintf(a.out, "%s in %.1f ms%s\n", plural(res.RowCount, "row"), res.ElapsedMS, more)
	return nil
}
