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
