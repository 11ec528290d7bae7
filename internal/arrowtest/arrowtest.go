// Package arrowtest writes Arrow's values as the text formats have them, for tests that compare both. It takes everything from
// Arrow's own types, and shares no code with what is tested.
package arrowtest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Text is the value of row i as in CSV, without quotes; "" for NULL.
func Text(a arrow.Array, i int) string {
	if IsNull(a, i) {
		return ""
	}
	switch a := a.(type) {
	case *array.String:
		return a.Value(i)
	case *array.Binary:
		return `\x` + hex.EncodeToString(a.Value(i))
	case *array.Timestamp:
		return moment(a, i, " ", "+00")
	case *array.SparseUnion:
		return Text(a.Field(a.ChildID(i)), i)
	}
	return strings.Trim(JSON(a, i), `"`)
}

// IsNull says whether row i is NULL; a union is where its member is.
func IsNull(a arrow.Array, i int) bool {
	if u, ok := a.(*array.SparseUnion); ok {
		return IsNull(u.Field(u.ChildID(i)), i)
	}
	return a.IsNull(i)
}

// JSON is the value of row i as in JSON.
func JSON(a arrow.Array, i int) string {
	if IsNull(a, i) {
		return "null"
	}
	switch a := a.(type) {
	case *array.Boolean:
		return strconv.FormatBool(a.Value(i))
	case *array.Int8:
		return strconv.Itoa(int(a.Value(i)))
	case *array.Int16:
		return strconv.Itoa(int(a.Value(i)))
	case *array.Int32:
		return strconv.Itoa(int(a.Value(i)))
	case *array.Int64:
		return strconv.FormatInt(a.Value(i), 10)
	case *array.Uint8:
		return strconv.Itoa(int(a.Value(i)))
	case *array.Uint16:
		return strconv.Itoa(int(a.Value(i)))
	case *array.Uint32:
		return strconv.Itoa(int(a.Value(i)))
	case *array.Uint64:
		return strconv.FormatUint(a.Value(i), 10)
	case *array.Float32:
		return float(float64(a.Value(i)), 32)
	case *array.Float64:
		return float(a.Value(i), 64)
	case *array.Decimal128:
		return decimal(a.Value(i).BigInt().String(), int(a.DataType().(*arrow.Decimal128Type).Scale))
	case *array.String:
		var b strings.Builder
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(a.Value(i)); err != nil {
			panic(err)
		}
		return strings.TrimSpace(b.String())
	case *array.Binary:
		return `"` + base64.StdEncoding.EncodeToString(a.Value(i)) + `"`
	case *array.Date32:
		switch d := a.Value(i); d {
		case math.MaxInt32:
			return `"infinity"`
		case -math.MaxInt32:
			return `"-infinity"`
		default:
			day, era := date(time.Unix(int64(d)*86400, 0).UTC())
			return `"` + day + era + `"`
		}
	case *array.Time64:
		unit := a.DataType().(*arrow.Time64Type).Unit.Multiplier()
		return `"` + clock(time.Duration(a.Value(i))*unit) + `"`
	case *array.Timestamp:
		return `"` + moment(a, i, "T", "+00:00") + `"`
	case *array.MonthDayNanoInterval:
		return `"` + period(a.Value(i)) + `"`
	case *array.List:
		from, to := a.ValueOffsets(i)
		return list(a.ListValues(), from, to)
	case *array.FixedSizeList:
		from, to := a.ValueOffsets(i)
		return list(a.ListValues(), from, to)
	case *array.Map:
		from, to := a.ValueOffsets(i)
		return pairs(a, from, to)
	case *array.Struct:
		fields := a.DataType().(*arrow.StructType).Fields()
		parts := make([]string, len(fields))
		for k, f := range fields {
			parts[k] = fmt.Sprintf("%q:%s", f.Name, JSON(a.Field(k), i))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case *array.SparseUnion:
		return JSON(a.Field(a.ChildID(i)), i)
	}
	panic(fmt.Sprintf("no text for %s", a.DataType()))
}

func list(a arrow.Array, from, to int64) string {
	var parts []string
	for i := from; i < to; i++ {
		parts = append(parts, JSON(a, int(i)))
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func pairs(m *array.Map, from, to int64) string {
	_, text := m.Keys().(*array.String)
	var parts []string
	for i := int(from); i < int(to); i++ {
		form := `{"key":%s,"value":%s}`
		if text {
			form = "%s:%s"
		}
		parts = append(parts, fmt.Sprintf(form, JSON(m.Keys(), i), JSON(m.Items(), i)))
	}
	if text {
		return "{" + strings.Join(parts, ",") + "}"
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func float(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return `"NaN"`
	case math.IsInf(f, 1):
		return `"Infinity"`
	case math.IsInf(f, -1):
		return `"-Infinity"`
	}
	format := byte('f')
	if size := math.Abs(f); size != 0 && (size < 1e-6 || size >= 1e21) {
		format = 'e'
	}
	return strconv.FormatFloat(f, format, -1, bits)
}

func decimal(digits string, scale int) string {
	sign := ""
	if rest, ok := strings.CutPrefix(digits, "-"); ok {
		sign, digits = "-", rest
	}
	if scale == 0 {
		return sign + digits
	}
	if short := scale + 1 - len(digits); short > 0 {
		digits = strings.Repeat("0", short) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

func date(t time.Time) (day, era string) {
	year, month, d := t.Date()
	if year <= 0 {
		year, era = 1-year, " BC"
	}
	return fmt.Sprintf("%04d-%02d-%02d", year, month, d), era
}

func clock(d time.Duration) string {
	text := fmt.Sprintf("%02d:%02d:%02d", d/time.Hour, d/time.Minute%60, d/time.Second%60)
	if rest := d % time.Second; rest != 0 {
		text += strings.TrimRight(fmt.Sprintf(".%09d", rest), "0")
	}
	return text
}

func moment(a *array.Timestamp, i int, sep, zone string) string {
	v, typ := int64(a.Value(i)), a.DataType().(*arrow.TimestampType)
	switch v {
	case math.MaxInt64:
		return "infinity"
	case -math.MaxInt64:
		return "-infinity"
	}
	unit := int64(time.Second / typ.Unit.Multiplier())
	seconds, rest := v/unit, v%unit
	if rest < 0 {
		seconds, rest = seconds-1, rest+unit
	}
	t := time.Unix(seconds, rest*(1e9/unit)).UTC()
	day, era := date(t)
	if typ.TimeZone == "" {
		zone = ""
	}
	return day + sep + clock(time.Duration(t.Hour())*time.Hour+time.Duration(t.Minute())*time.Minute+time.Duration(t.Second())*time.Second+time.Duration(t.Nanosecond())) + zone + era
}

// period writes an interval as PostgreSQL does.
func period(p arrow.MonthDayNanoInterval) string {
	var parts []string
	negative := false // the part before
	add := func(n int64, one, many string) {
		if n == 0 {
			return
		}
		sign := ""
		if negative && n > 0 {
			sign = "+"
		}
		if n != 1 {
			one = many
		}
		negative = n < 0
		parts = append(parts, fmt.Sprintf("%s%d %s", sign, n, one))
	}
	add(int64(p.Months/12), "year", "years")
	add(int64(p.Months%12), "mon", "mons")
	add(int64(p.Days), "day", "days")
	if p.Nanoseconds != 0 || len(parts) == 0 {
		sign, d := "", time.Duration(p.Nanoseconds)
		if d < 0 {
			sign, d = "-", -d
		} else if negative {
			sign = "+"
		}
		parts = append(parts, sign+clock(d))
	}
	return strings.Join(parts, " ")
}
