package store

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	duck "github.com/duckdb/duckdb-go-bindings"

	"github.com/pintaildb/pintail/internal/fault"
)

// What a client's Arrow columns become. Nothing is rounded, cut or wrapped around on the way: a value that does not fit is an error.
//
//	Arrow                                       DuckDB
//	null                                        INTEGER, all NULL
//	bool, bool8                                 BOOLEAN
//	int8…64, uint8…64, float32, float64         the same
//	float16                                     FLOAT
//	decimal32, 64, 128, 256                     DECIMAL(p,s), p up to 38
//	utf8, large_utf8, utf8_view                 VARCHAR
//	binary, large_binary, binary_view, fixed    BLOB
//	date32, date64                              DATE
//	time32, time64[us]                          TIME
//	time64[ns]                                  TIME_NS
//	timestamp[s], [ms], [us], [ns]              TIMESTAMP_S, TIMESTAMP_MS, TIMESTAMP, TIMESTAMP_NS
//	timestamp of any unit with a zone           TIMESTAMP WITH TIME ZONE
//	duration, the three intervals               INTERVAL
//	list, large_list and their views            LIST
//	fixed_size_list                             ARRAY, above arraySizeMax a LIST
//	struct, map                                 the same
//	dictionary, run_end_encoded                 what their values become
//	arrow.uuid, arrow.json                      UUID, JSON
//	other extension types                       what their storage becomes

// form is how the values of an Arrow array are laid into a vector.
type form uint8

const (
	formNull form = iota
	formCopy      // both have the same bytes
	formBool
	formBool8
	formHalf
	formDecimal
	formBytes
	formUUID
	formScaled // a number of units, as a number of others
	formInterval
	formList
	formArray
	formStruct
	formMap
)

// putType is a type of a client's rows.
type putType struct {
	resultType
	form   form
	width  int   // bytes of a value, where they are copied
	mul    int64 // formScaled, and the last part of an interval: times this …
	div    int64 // … or by this, without a remainder
	lo, hi int64 // whole numbers may not be outside, where these differ …
	ends   bool  // … but for infinity and -infinity, the largest number and its negative
	nested []putType
}

const (
	// arraySizeMax bounds an ARRAY, of which DuckDB always has room for 2048.
	arraySizeMax = 4096
	typeDepthMax = 64
	columnsMax   = 10_000
)

// Bounds of what DuckDB can calculate with: beyond them are its infinities, and numbers that have no date.
const (
	daysMin    = -2147483646
	daysMax    = 2147483646
	microsMin  = -9223372022400000000
	nanosMin   = -9223286400000000000
	numberMax  = 1<<63 - 2
	dayMicros  = 86_400_000_000
	dayNanos   = 1000 * dayMicros
	microsOfMs = 1000
	microsOfS  = 1_000_000
)

// putTypes maps the columns of a client's rows; the error names the first one that DuckDB cannot have.
func putTypes(schema *arrow.Schema) ([]putColumn, error) {
	fields := schema.Fields()
	switch {
	case len(fields) == 0:
		return nil, fault.New(fault.Usage, "send at least one column", "the rows have no columns")
	case len(fields) > columnsMax:
		return nil, fault.New(fault.Usage, "use several tables", "the rows have %d columns, the most is %d", len(fields), columnsMax)
	}
	cols := make([]putColumn, len(fields))
	seen := map[string]string{}
	for i, f := range fields {
		if err := plainName("column", f.Name); err != nil {
			return nil, err
		}
		if other, ok := seen[fold(f.Name)]; ok {
			return nil, fault.New(fault.Usage, "give one of them another name", "columns %q and %q are one name in DuckDB", other, f.Name)
		}
		seen[fold(f.Name)] = f.Name
		t, err := newPutType(f.Type, f.Metadata, 0)
		if err != nil {
			return nil, fault.New(fault.Usage, fault.HintOf(err), "column %q has type %s: %w", f.Name, f.Type, err)
		}
		cols[i] = putColumn{name: f.Name, notNull: !f.Nullable && t.form != formNull, typ: t, arrow: f.Type}
	}
	return cols, nil
}

// putColumn is a column of a client's rows.
type putColumn struct {
	name    string
	notNull bool
	typ     putType
	arrow   arrow.DataType
}

// nameBytesMax bounds names of schemas, tables and columns.
const nameBytesMax = 255

// plainName says whether a client may give something this name.
func plainName(what, name string) error {
	bad := func(why string) error {
		return fault.New(fault.Usage, "give it another name", "%s %q: %s", what, name, why)
	}
	switch {
	case name == "":
		return fault.New(fault.Usage, "give it a name", "a %s has no name", what)
	case len(name) > nameBytesMax:
		return fault.New(fault.Usage, "give it a shorter name", "the name of a %s has %d bytes, the most is %d", what, len(name), nameBytesMax)
	case strings.ToValidUTF8(name, "") != name:
		return bad("the name is not valid UTF-8")
	case strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0:
		return bad("the name holds a control character")
	}
	return nil
}

func unfit(hint, format string, args ...any) (putType, error) {
	return putType{}, fault.New(fault.Usage, hint, format, args...)
}

func same(id duck.Type, width int) putType {
	return putType{resultType: resultType{id: id}, form: formCopy, width: width}
}

func within(t putType, lo, hi int64) putType {
	t.lo, t.hi = lo, hi
	return t
}

// momentOf is a date or timestamp.
func momentOf(id duck.Type, width int, lo, hi int64) putType {
	t := within(same(id, width), lo, hi)
	t.ends = true
	return t
}

func scaled(id duck.Type, mul, div, lo, hi int64) putType {
	return putType{resultType: resultType{id: id}, form: formScaled, mul: mul, div: div, lo: lo, hi: hi}
}

func of(id duck.Type, f form) putType { return putType{resultType: resultType{id: id}, form: f} }

// extension is the name of t's extension type, which an unregistered one has in its field's metadata only.
func extension(t arrow.DataType, meta arrow.Metadata) string {
	if e, ok := t.(arrow.ExtensionType); ok {
		return e.ExtensionName()
	}
	name, _ := meta.GetValue("ARROW:extension:name")
	return name
}

func newPutType(t arrow.DataType, meta arrow.Metadata, depth int) (putType, error) {
	if depth > typeDepthMax {
		return unfit("flatten it", "it is nested more than %d deep", typeDepthMax)
	}
	name := extension(t, meta)
	for {
		if e, ok := t.(arrow.ExtensionType); ok {
			t = e.StorageType()
		} else if e, ok := t.(arrow.EncodedType); ok {
			t = e.Encoded()
		} else if e, ok := t.(*arrow.DictionaryType); ok {
			t = e.ValueType
		} else {
			break
		}
	}
	switch name {
	case "arrow.uuid":
		if f, ok := t.(*arrow.FixedSizeBinaryType); ok && f.ByteWidth == 16 {
			return of(duck.TypeUUID, formUUID), nil
		}
	case "arrow.bool8":
		if t.ID() == arrow.INT8 {
			return of(duck.TypeBoolean, formBool8), nil
		}
	}
	switch t := t.(type) {
	case *arrow.NullType:
		return of(duck.TypeInteger, formNull), nil
	case *arrow.BooleanType:
		return of(duck.TypeBoolean, formBool), nil
	case *arrow.Int8Type:
		return same(duck.TypeTinyInt, 1), nil
	case *arrow.Int16Type:
		return same(duck.TypeSmallInt, 2), nil
	case *arrow.Int32Type:
		return same(duck.TypeInteger, 4), nil
	case *arrow.Int64Type:
		return same(duck.TypeBigInt, 8), nil
	case *arrow.Uint8Type:
		return same(duck.TypeUTinyInt, 1), nil
	case *arrow.Uint16Type:
		return same(duck.TypeUSmallInt, 2), nil
	case *arrow.Uint32Type:
		return same(duck.TypeUInteger, 4), nil
	case *arrow.Uint64Type:
		return same(duck.TypeUBigInt, 8), nil
	case *arrow.Float16Type:
		return of(duck.TypeFloat, formHalf), nil
	case *arrow.Float32Type:
		return same(duck.TypeFloat, 4), nil
	case *arrow.Float64Type:
		return same(duck.TypeDouble, 8), nil
	case arrow.DecimalType:
		return decimalType(t)
	case *arrow.StringType, *arrow.LargeStringType, *arrow.StringViewType:
		s := of(duck.TypeVarchar, formBytes)
		if name == "arrow.json" {
			s.alias = "JSON"
		}
		return s, nil
	case *arrow.BinaryType, *arrow.LargeBinaryType, *arrow.BinaryViewType, *arrow.FixedSizeBinaryType:
		return of(duck.TypeBlob, formBytes), nil
	case *arrow.Date32Type:
		return momentOf(duck.TypeDate, 4, daysMin, daysMax), nil
	case *arrow.Date64Type:
		return scaled(duck.TypeDate, 1, dayMicros/microsOfMs, daysMin, daysMax), nil
	case *arrow.Time32Type:
		return scaled(duck.TypeTime, micros[t.Unit].mul, 1, 0, dayMicros), nil
	case *arrow.Time64Type:
		if t.Unit == arrow.Nanosecond {
			return within(same(duck.TypeTimeNS, 8), 0, dayNanos), nil
		}
		return within(same(duck.TypeTime, 8), 0, dayMicros), nil
	case *arrow.TimestampType:
		return timestampType(t), nil
	case *arrow.DurationType:
		u := micros[t.Unit]
		return putType{resultType: resultType{id: duck.TypeInterval}, form: formInterval, mul: u.mul, div: u.div}, nil
	case *arrow.MonthIntervalType:
		return of(duck.TypeInterval, formInterval), nil
	case *arrow.DayTimeIntervalType:
		return putType{resultType: resultType{id: duck.TypeInterval}, form: formInterval, mul: microsOfMs, div: 1}, nil
	case *arrow.MonthDayNanoIntervalType:
		return putType{resultType: resultType{id: duck.TypeInterval}, form: formInterval, mul: 1, div: 1000}, nil
	}
	return nestedType(t, depth)
}

// micros says how many microseconds a unit has, or how many of it one has.
var micros = map[arrow.TimeUnit]struct{ mul, div int64 }{
	arrow.Second: {microsOfS, 1}, arrow.Millisecond: {microsOfMs, 1}, arrow.Microsecond: {1, 1}, arrow.Nanosecond: {1, 1000},
}

func timestampType(t *arrow.TimestampType) putType {
	if t.TimeZone != "" {
		u := micros[t.Unit]
		if u.mul == u.div {
			return momentOf(duck.TypeTimestampTZ, 8, microsMin, numberMax)
		}
		return scaled(duck.TypeTimestampTZ, u.mul, u.div, microsMin, numberMax)
	}
	switch t.Unit {
	case arrow.Second:
		return momentOf(duck.TypeTimestampS, 8, microsMin/microsOfS, numberMax/microsOfS)
	case arrow.Millisecond:
		return momentOf(duck.TypeTimestampMS, 8, microsMin/microsOfMs, numberMax/microsOfMs)
	case arrow.Nanosecond:
		return momentOf(duck.TypeTimestampNS, 8, nanosMin, numberMax)
	}
	return momentOf(duck.TypeTimestamp, 8, microsMin, numberMax)
}

func decimalType(t arrow.DecimalType) (putType, error) {
	p, s := t.GetPrecision(), t.GetScale()
	switch {
	case p < 1 || p > hugeDigits:
		return unfit("cast it to decimal128(38, s) or to a string", "DuckDB's DECIMAL has 1 to %d digits", hugeDigits)
	case s < 0 || s > p:
		return unfit("cast it to a scale from 0 to the precision", "DuckDB's DECIMAL has no such scale")
	}
	d := of(duck.TypeDecimal, formDecimal)
	d.resultType.width, d.scale = uint8(p), uint8(s)
	switch {
	case p <= 4:
		d.inner = duck.TypeSmallInt
	case p <= 9:
		d.inner = duck.TypeInteger
	case p <= 18:
		d.inner = duck.TypeBigInt
	default:
		d.inner = duck.TypeHugeInt
	}
	return d, nil
}

func nestedType(t arrow.DataType, depth int) (putType, error) {
	var p putType
	var kids []arrow.Field
	switch t := t.(type) {
	case *arrow.MapType:
		p, kids = of(duck.TypeMap, formMap), []arrow.Field{t.KeyField(), t.ItemField()}
		p.names = []string{"key", "value"}
	case *arrow.FixedSizeListType:
		p, kids = of(duck.TypeArray, formArray), []arrow.Field{t.ElemField()}
		p.names, p.size = []string{""}, int(t.Len())
		if p.size < 1 || p.size > arraySizeMax {
			p.id, p.form, p.size = duck.TypeList, formList, 0
		}
	case arrow.ListLikeType:
		p, kids = of(duck.TypeList, formList), []arrow.Field{t.ElemField()}
		p.names = []string{""}
	case *arrow.StructType:
		if p, kids = of(duck.TypeStruct, formStruct), t.Fields(); len(kids) == 0 {
			return unfit("leave it out", "a struct needs a field")
		}
		seen := map[string]bool{}
		for _, f := range kids {
			if err := plainName("field", f.Name); err != nil {
				return putType{}, err
			}
			if seen[fold(f.Name)] {
				return unfit("give one of them another name", "two of its fields are called %q in DuckDB", f.Name)
			}
			seen[fold(f.Name)] = true
			p.names = append(p.names, f.Name)
		}
	default:
		return unfit("cast it to another type", "DuckDB has nothing for it")
	}
	room := max(1, p.size)
	for _, f := range kids {
		k, err := newPutType(f.Type, f.Metadata, depth+1)
		if err != nil {
			return putType{}, err
		}
		if p.form == formArray && k.arrays()*room > arraySizeMax {
			p.id, p.form, p.size = duck.TypeList, formList, 0
		}
		p.nested, p.kids = append(p.nested, k), append(p.kids, k.resultType)
	}
	return p, nil
}

// arrays is how many elements one row has at most in arrays within arrays.
func (p *putType) arrays() int {
	n := 1
	for i := range p.nested {
		n = max(n, p.nested[i].arrays())
	}
	return n * max(1, p.size)
}

// raw is the type as the rows bring it: text that is to become JSON is not proven to be.
func (r *resultType) raw() resultType {
	t := *r
	t.alias = ""
	t.kids = make([]resultType, len(r.kids))
	for i := range r.kids {
		t.kids[i] = r.kids[i].raw()
	}
	return t
}

// logical must be destroyed by the caller.
func (r *resultType) logical() duck.LogicalType {
	kids := make([]duck.LogicalType, len(r.kids))
	for i := range r.kids {
		kids[i] = r.kids[i].logical()
		defer duck.DestroyLogicalType(&kids[i])
	}
	switch r.id {
	case duck.TypeDecimal:
		return duck.CreateDecimalType(r.width, r.scale)
	case duck.TypeList:
		return duck.CreateListType(kids[0])
	case duck.TypeArray:
		return duck.CreateArrayType(kids[0], duck.IdxT(r.size))
	case duck.TypeMap:
		return duck.CreateMapType(kids[0], kids[1])
	case duck.TypeStruct:
		return duck.CreateStructType(kids, r.names)
	}
	return duck.CreateLogicalType(r.id)
}

// whole is what a type of whole numbers can hold.
type whole struct {
	signed bool
	bits   int
}

var wholes = map[duck.Type]whole{
	duck.TypeTinyInt: {true, 8}, duck.TypeSmallInt: {true, 16}, duck.TypeInteger: {true, 32}, duck.TypeBigInt: {true, 64}, duck.TypeHugeInt: {true, 128},
	duck.TypeUTinyInt: {false, 8}, duck.TypeUSmallInt: {false, 16}, duck.TypeUInteger: {false, 32}, duck.TypeUBigInt: {false, 64}, duck.TypeUHugeInt: {false, 128},
}

// digits that the numbers of w have at most.
func (w whole) digits() int {
	return map[int]int{8: 3, 16: 5, 32: 10, 64: 20, 128: 39}[w.bits]
}

var unitsPerSecond = map[duck.Type]int{duck.TypeTimestampS: 0, duck.TypeTimestampMS: 3, duck.TypeTimestamp: 6, duck.TypeTimestampNS: 9}

// fits says whether every value of from is one of to, or is refused by DuckDB one by one (text that is no JSON, a time beyond the
// years of a finer unit). Nothing is rounded.
func fits(from, to *resultType) bool {
	if from.name() == to.name() {
		return true
	}
	a, number := wholes[from.id]
	switch to.id {
	case duck.TypeDecimal:
		if number {
			return a.digits() <= int(to.width)-int(to.scale)
		}
		return from.id == duck.TypeDecimal && from.scale <= to.scale && from.width-from.scale <= to.width-to.scale
	case duck.TypeFloat:
		return number && a.bits <= 16
	case duck.TypeDouble:
		return number && a.bits <= 32 || from.id == duck.TypeFloat
	case duck.TypeVarchar:
		return from.id == duck.TypeVarchar || from.id == duck.TypeUUID && to.alias == ""
	case duck.TypeUUID, duck.TypeTimeTZ, duck.TypeBit:
		return from.id == duck.TypeVarchar && from.alias == ""
	case duck.TypeHugeInt:
		if from.id == duck.TypeDecimal { // what a HUGEINT is in Arrow
			return from.scale == 0
		}
	case duck.TypeTimeNS:
		return from.id == duck.TypeTime
	case duck.TypeTimestampS, duck.TypeTimestampMS, duck.TypeTimestamp, duck.TypeTimestampNS:
		unit, ok := unitsPerSecond[from.id]
		return from.id == duck.TypeDate || ok && unit <= unitsPerSecond[to.id]
	case duck.TypeList:
		return (from.id == duck.TypeList || from.id == duck.TypeArray) && fits(&from.kids[0], &to.kids[0])
	case duck.TypeArray:
		return from.id == duck.TypeArray && from.size == to.size && fits(&from.kids[0], &to.kids[0])
	case duck.TypeMap:
		return from.id == duck.TypeMap && fits(&from.kids[0], &to.kids[0]) && fits(&from.kids[1], &to.kids[1])
	case duck.TypeStruct:
		if from.id != duck.TypeStruct || len(from.kids) != len(to.kids) {
			return false
		}
		for i := range to.kids {
			if fold(from.names[i]) != fold(to.names[i]) || !fits(&from.kids[i], &to.kids[i]) {
				return false
			}
		}
		return true
	}
	b, ok := wholes[to.id]
	switch {
	case !number || !ok:
		return false
	case a.signed == b.signed:
		return a.bits <= b.bits
	}
	return b.signed && a.bits < b.bits
}

// definition is the column as CREATE TABLE has it.
func (c *putColumn) definition() string {
	null := ""
	if c.notNull {
		null = " NOT NULL"
	}
	return fmt.Sprintf("%s %s%s", quote(c.name), c.typ.name(), null)
}
