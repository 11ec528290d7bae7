package types

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/pintaildb/pintail/change"
)

// benchTypes are the ten columns of the table that every benchmark of the full sync uses.
func benchTypes() []Type {
	var ts []Type
	for _, c := range []struct {
		oid uint32
		mod int32
	}{{oidInt8, -1}, {oidInt4, -1}, {oidText, -1}, {oidText, -1}, {oidNumeric, 12<<16 | 2 + 4}, {oidTimestampTZ, -1}, {oidTimestampTZ, -1}, {oidBool, -1}, {oidFloat8, -1}, {oidText, -1}} {
		ts = append(ts, Of(c.oid, c.mod, nil))
	}
	return ts
}

func benchRow(i int) []byte {
	be := binary.BigEndian
	b := be.AppendUint16(nil, 10)
	field := func(f []byte) { b = append(be.AppendUint32(b, uint32(len(f))), f...) }
	field(be.AppendUint64(nil, uint64(i)))
	field(be.AppendUint32(nil, uint32(i%1000)))
	field([]byte([]string{"processed", "failed", "pending", "sent"}[i%4]))
	field(fmt.Appendf(nil, "p%d", i%977))
	field(appendNumeric(nil, change.HugeInt{Lo: uint64(i * 31 % 10000000)}, 2))
	field(be.AppendUint64(nil, uint64(8e14+int64(i)*1e6)))
	field(be.AppendUint64(nil, uint64(8e14+int64(i)*1e3)))
	field([]byte{byte(i & 1)})
	field(be.AppendUint64(nil, math.Float64bits(float64(i)*0.37)))
	if i%10 == 0 {
		b = be.AppendUint32(b, math.MaxUint32)
	} else {
		field(fmt.Appendf(nil, "%x", md5.Sum([]byte{byte(i), byte(i >> 8)})))
	}
	return b
}

func BenchmarkDecode(b *testing.B) {
	ts := benchTypes()
	d := NewDecoder(ts)
	c := NewChunk(ts)
	const rows = 4 * change.ChunkRows
	var buf []byte
	var at []int
	for i := range rows {
		at = append(at, len(buf))
		buf = append(buf, benchRow(i)...)
	}
	at = append(at, len(buf))
	buf = append(buf, make([]byte, Slack)...)
	b.ReportAllocs()
	b.SetBytes(int64(at[rows] / rows))
	n := 0
	for b.Loop() {
		r := n % rows
		if err := d.DecodeRow(c, r%change.ChunkRows, buf[at[r]:at[r+1]]); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

// fieldsOf are the fields of a tuple.
func fieldsOf(row []byte) (fs [][]byte) {
	for at := 2; at < len(row); {
		n := int(int32(binary.BigEndian.Uint32(row[at:])))
		if at += 4; n < 0 {
			fs = append(fs, nil)
			continue
		}
		fs = append(fs, row[at:at+n])
		at += n
	}
	return fs
}

func BenchmarkBinary(b *testing.B) { benchFields(b, (*Decoder).Binary, false) }
func BenchmarkText(b *testing.B)   { benchFields(b, (*Decoder).Text, true) }

// benchFields decodes the rows of BenchmarkDecode value by value.
func benchFields(b *testing.B, decode func(*Decoder, *change.Vector, int, int, []byte) error, text bool) {
	ts := benchTypes()
	d, c := NewDecoder(ts), NewChunk(ts)
	rows := make([][][]byte, change.ChunkRows)
	bytes := 0
	for i := range rows {
		row := benchRow(i)
		rows[i] = fieldsOf(row)
		for col, f := range rows[i] {
			if text && f != nil {
				if err := d.Binary(&c.Vectors[col], col, 0, f); err != nil {
					b.Fatal(err)
				}
				rows[i][col] = AppendText(nil, &ts[col], &c.Vectors[col], 0)
			}
			bytes += len(rows[i][col])
		}
	}
	b.ReportAllocs()
	b.SetBytes(int64(bytes / len(rows)))
	n := 0
	for b.Loop() {
		r := n % len(rows)
		for col, f := range rows[r] {
			if f == nil {
				c.Vectors[col].SetNull(r)
				continue
			}
			if err := decode(d, &c.Vectors[col], col, r, f); err != nil {
				b.Fatal(err)
			}
		}
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

// usual are values of the kinds that must not allocate, in text.
var usual = []struct {
	typ  Type
	text string
}{
	{Of(oidBool, -1, nil), "t"}, {Of(oidInt8, -1, nil), "-1234567890123"}, {Of(oidFloat8, -1, nil), "12345.678"}, {Decimal(12, 2, -1), "-123456.78"},
	{Decimal(38, 10, -1), "-12345678901234567890.12"}, {Of(oidText, -1, nil), "longer than twelve bytes"}, {Of(oidTimestampTZ, -1, nil), "2025-06-07 08:09:10.123456+00"},
	{Of(oidDate, -1, nil), "2025-06-07"}, {Of(oidTimeTZ, -1, nil), "08:09:10.123456+05:30"}, {Of(oidInterval, -1, nil), "1 year 2 mons -3 days +04:05:06.7"},
	{Of(oidUUID, -1, nil), "01234567-89ab-cdef-0123-456789abcdef"}, {Of(oidJSONB, -1, nil), `{"a": [1, 2, 3]}`}, {Of(oidMoney, -1, nil), "-$1,234.56"},
	{asText(oidInet), "192.168.100.200"}, {Of(oidBytea, -1, nil), `\x00112233445566778899aabbccddeeff`}, {Of(1007, -1, nil), "{1,2,NULL,4}"}, {Of(1009, -1, nil), `{abc,"d e",NULL,"f\"g"}`},
}

func TestUsualValuesDoNotAllocate(t *testing.T) {
	for _, k := range usual {
		d, c, text := NewDecoder([]Type{k.typ}), NewChunk([]Type{k.typ}), []byte(k.text)
		read := func() {
			if err := d.Text(&c.Vectors[0], 0, 0, text); err != nil {
				t.Fatal(err)
			}
			ResetChunk(c)
			d.Reset()
		}
		read()
		if n := testing.AllocsPerRun(100, read); n != 0 {
			t.Errorf("%s: %v allocations", k.typ.SQL, n)
		}
	}
	ts := []Type{asText(oidNumeric), Of(oidMoney, -1, nil), Of(oidJSONB, -1, nil)}
	d, c := NewDecoder(ts), NewChunk(ts)
	for col, b := range [][]byte{appendNumeric(nil, change.HugeInt{Lo: 1e19, Hi: 7}, 9), make([]byte, 8), []byte("\x01{}")} {
		n := testing.AllocsPerRun(100, func() {
			if err := d.Binary(&c.Vectors[col], col, 0, b); err != nil {
				t.Fatal(err)
			}
			d.Reset()
		})
		if n != 0 {
			t.Errorf("binary %s: %v allocations", ts[col].SQL, n)
		}
	}
}

func BenchmarkTextKinds(b *testing.B) {
	for _, k := range usual {
		b.Run(k.typ.SQL, func(b *testing.B) {
			d, c, text := NewDecoder([]Type{k.typ}), NewChunk([]Type{k.typ}), []byte(k.text)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if n++; n == change.ChunkRows {
					n = 0
					ResetChunk(c)
					d.Reset()
				}
				if err := d.Text(&c.Vectors[0], 0, n, text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
