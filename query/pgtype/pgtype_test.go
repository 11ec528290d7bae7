package pgtype

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOf(t *testing.T) {
	for duck, want := range map[string]Type{
		"BOOLEAN":                        {16, 1, -1, "bool"},
		"TINYINT":                        {21, 2, -1, "int2"},
		"UTINYINT":                       {21, 2, -1, "int2"},
		"USMALLINT":                      {23, 4, -1, "int4"},
		"UINTEGER":                       {20, 8, -1, "int8"},
		"UBIGINT":                        {1700, -1, -1, "numeric"},
		"HUGEINT":                        {1700, -1, -1, "numeric"},
		"DECIMAL(18,3)":                  {1700, -1, 18<<16 | 3 + 4, "numeric"},
		"DECIMAL(4,0)":                   {1700, -1, 4<<16 + 4, "numeric"},
		"VARCHAR":                        {25, -1, -1, "text"},
		"ENUM('a', 'b[]')":               {25, -1, -1, "text"},
		"ENUM('a')[]":                    {1009, -1, -1, "_text"},
		"NULL":                           {25, -1, -1, "text"},
		"TIMESTAMP WITH TIME ZONE":       {1184, 8, -1, "timestamptz"},
		"TIMESTAMP_NS":                   {1114, 8, -1, "timestamp"},
		"INTEGER[]":                      {1007, -1, -1, "_int4"},
		"INTEGER[3]":                     {1007, -1, -1, "_int4"},
		"DECIMAL(5,2)[]":                 {1231, -1, 5<<16 | 2 + 4, "_numeric"},
		"INTEGER[][]":                    {114, -1, -1, "json"},
		"STRUCT(\"a\" INTEGER)":          {114, -1, -1, "json"},
		"STRUCT(\"a\" INTEGER)[]":        {114, -1, -1, "json"},
		"MAP(VARCHAR, INTEGER)":          {114, -1, -1, "json"},
		"UNION(\"a\" INTEGER)":           {114, -1, -1, "json"},
		"JSON":                           {114, -1, -1, "json"},
		"JSON[]":                         {199, -1, -1, "_json"},
		"something that nobody has seen": {25, -1, -1, "text"},
		"]":                              {25, -1, -1, "text"},
		"":                               {25, -1, -1, "text"},
	} {
		require.Equal(t, want, Of(duck), duck)
	}
}

// Every type of a column can be declared for a parameter, and what is then bound has that type again.
func TestDuckIsInverse(t *testing.T) {
	for duck := range named {
		oid := Of(duck).OID
		require.Equal(t, oid, Of(Duck(oid)).OID, duck)
		array := Of(duck + "[]").OID
		require.Equal(t, array, Of(Duck(array)).OID, duck)
		elem, ok := Element(array)
		require.True(t, ok)
		require.Equal(t, oid, elem)
	}
	require.Equal(t, "VARCHAR", Duck(999999))
	require.Equal(t, Type{999999, -1, -1, ""}, ByOID(999999))
}

func FuzzOf(f *testing.F) {
	for _, s := range []string{"INTEGER[3]", "DECIMAL(18,3)", "[", "DECIMAL(", "A[][]", "]]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if Of(s).OID == 0 {
			t.Fatalf("%q has no type", s)
		}
	})
}
