package rig

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// column says how a value reads as the same text in both databases. A double is its whole part and its fraction in
// units of 2^-53, which is exact, where the two print it differently.
type column struct{ name, postgres, duckdb string }

func columns() []column {
	text := func(name string) column { return column{name, name, name} }
	both := func(name, expr string) column {
		return column{name, fmt.Sprintf(expr, "text"), fmt.Sprintf(expr, "varchar")}
	}
	moment := func(name string) column {
		return column{name, "(extract(epoch FROM " + name + ") * 1000000)::bigint::text", "epoch_us(" + name + ")::varchar"}
	}
	return []column{
		both("id", "id::%s"),
		both("partner_id", "partner_id::%s"),
		text("status"),
		text("code"),
		both("amount", "amount::%s"),
		moment("created_at"),
		moment("updated_at"),
		both("flag", "flag::int::%s"),
		both("score", "floor(score)::bigint::%[1]s || '+' || ((score - floor(score)) * 9007199254740992)::bigint::%[1]s"),
		text("payload"),
	}
}

// summary is a SELECT of one row: the number of rows; for each column how many values there are, their length and the
// sum of a checksum that depends on the row's id; all as text.
func summary(where string, duckdb bool) string {
	to, checksum := "text", "('x' || substr(md5(%s), 1, 15))::bit(60)::bigint"
	if duckdb {
		to, checksum = "varchar", "('0x' || substr(md5(%s), 1, 15))::bigint"
	}
	list := []string{"count(*)::" + to + " AS rows"}
	var whole []string
	for _, c := range columns() {
		expr := c.postgres
		if duckdb {
			expr = c.duckdb
		}
		list = append(list, fmt.Sprintf("count(%s)::%s AS %s_values", c.name, to, c.name),
			fmt.Sprintf("coalesce(sum(length(%s)), 0)::%s AS %s_length", expr, to, c.name))
		if c.name != "id" && c.name != "score" { // a number each, cheaper than a checksum
			list = append(list, fmt.Sprintf("min(%s)::%s AS %s_min, max(%s)::%s AS %s_max", bytewise(expr, duckdb), to, c.name, bytewise(expr, duckdb), to, c.name))
		}
		whole = append(whole, "coalesce("+expr+", 'NULL')")
	}
	list = append(list, "coalesce(sum("+fmt.Sprintf(checksum, strings.Join(whole, " || '|' || "))+"), 0)::"+to+" AS whole_rows")
	return "SELECT " + strings.Join(list, ",\n\t") + "\nFROM " + Table + " " + where
}

// bytewise orders text by its bytes, as DuckDB does by itself.
func bytewise(expr string, duckdb bool) string {
	if duckdb {
		return expr
	}
	return "(" + expr + ` COLLATE "C")`
}

// Compare reads all rows on both sides and reports what differs; where restricts them, in both databases' SQL. ask runs
// a SELECT of one row on the copy.
func (b *Bench) Compare(ctx context.Context, db, where string, ask func(context.Context, string) (map[string]string, error)) error {
	want, err := b.Source.Row(ctx, db, summary(where, false))
	if err != nil {
		return fmt.Errorf("summarise the source: %w", err)
	}
	got, err := ask(ctx, summary(where, true))
	if err != nil {
		return fmt.Errorf("summarise the copy: %w", err)
	}
	var differences []string
	for name, w := range want {
		if g := got[name]; g != w {
			differences = append(differences, fmt.Sprintf("%s is %s, in the source %s", name, g, w))
		}
	}
	if len(differences) > 0 {
		slices.Sort(differences)
		return fmt.Errorf("the copy differs from the source: %s", strings.Join(differences, "; "))
	}
	return nil
}
