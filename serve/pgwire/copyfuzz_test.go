package pgwire

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/change/types"
)

// fuzzPlan is a COPY into columns of every kind.
func fuzzPlan(t testing.TB, sql string) *copyPlan {
	t.Helper()
	s := newScanner(sql)
	s.next()
	cmd, err := copyCommand(nil, s)
	require.NoError(t, err)
	p := &copyPlan{copySpec: cmd.copy, table: "t", zone: time.UTC}
	for _, c := range columns("i INTEGER NOT NULL", "s VARCHAR", "d DECIMAL(6,2)", "l VARCHAR[]", "at TIMESTAMP WITH TIME ZONE", "iv INTERVAL", "b BLOB", "j JSON", "u UUID", "bits BIT", "z TIME WITH TIME ZONE", "h HUGEINT", "f DOUBLE", "tiny TINYINT") {
		p.columns = append(p.columns, copyColumnOf(c))
	}
	for i := range p.columns {
		p.types = append(p.types, p.columns[i].decoded())
	}
	return p
}

// However the bytes come, they give the same rows, or the same error; and all rows that were counted are decoded.
func FuzzCopyIn(f *testing.F) {
	const row = "1\ta\t1.5\t{x,\"y\\\\\"z\"}\t2024-01-02 03:04:05+02\t1 day 02:03:04\t\\\\xff\t{}\ta0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\t101\t01:02+03\t12\t1e5\t7\n"
	f.Add(byte(0), uint16(3), []byte(row+row))
	f.Add(byte(0), uint16(30), []byte(row+"\\.\nrest"))
	f.Add(byte(1), uint16(5), []byte("i,s\r\n1,\"a\r\n\"\"b\",,,,,,,,,,,,\r\n"))
	f.Add(byte(2), uint16(5), []byte("1;'a\\'b';;;;;;;;;;;;\n"))
	f.Add(byte(3), uint16(19), append(append([]byte(nil), copySignature...), "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0e\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x02ab\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"...))
	statements := []string{"COPY t FROM STDIN", "COPY t FROM STDIN CSV HEADER", "COPY t FROM STDIN CSV DELIMITER ';' QUOTE '''' ESCAPE '\\' FORCE NULL s FORCE NOT NULL i", "COPY t FROM STDIN BINARY"}
	f.Fuzz(func(t *testing.T, form byte, piece uint16, data []byte) {
		read := func(piece int) (rows int64, state string) {
			p := fuzzPlan(t, statements[int(form)%len(statements)])
			var s splitter
			s.init(p)
			var blocks []*copyBlock
			keep := func(b *copyBlock, err error) bool {
				if b != nil {
					blocks = append(blocks, b)
				}
				var e *sqlError
				if errors.As(err, &e) {
					state = e.state
				}
				return err == nil
			}
			going := true
			for rest := data; len(rest) > 0 && going; {
				n := min(piece, len(rest))
				going = keep(s.add(rest[:n]))
				rest = rest[n:]
			}
			if going {
				keep(s.finish())
			} else if b := s.take(); b != nil {
				blocks = append(blocks, b)
			}
			for _, b := range blocks {
				r, c, n := p.reader(b), types.NewChunk(p.types), int64(0)
				for {
					got, err := r.Read(c)
					if err != nil {
						var e *sqlError
						require.ErrorAs(t, err, &e)
						return rows, e.state
					}
					if got == 0 {
						break
					}
					n += int64(got)
					types.ResetChunk(c)
				}
				require.Equal(t, b.rows, n)
				rows += n
			}
			return rows, state
		}
		rows, state := read(len(data) + 1)
		again, stateAgain := read(int(piece)%64 + 1)
		require.Equal(t, rows, again)
		require.Equal(t, state, stateAgain)
	})
}
