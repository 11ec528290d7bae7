package pgwire

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pintaildb/pintail/query/pgtype"
)

// decode reads the values of a Bind into what query.Request takes: DuckDB casts a string to what the statement needs, so what JSON has
// no word for is bound as the text that DuckDB reads.
func (st *statement) decode(raw [][]byte, codes []int16) ([]any, error) {
	if len(raw) != len(st.params) {
		return nil, protocolError("bind message supplies " + strconv.Itoa(len(raw)) + " parameters, but the prepared statement requires " + strconv.Itoa(len(st.params)))
	}
	isBinary, err := formats(codes, len(raw), "parameter")
	if err != nil {
		return nil, err
	}
	values := make([]any, len(raw))
	for i, b := range raw {
		if b == nil {
			continue
		}
		if isBinary[i] {
			values[i], err = binaryValue(st.params[i], b)
		} else {
			values[i], err = textValue(st.params[i], string(b))
		}
		if err != nil {
			return nil, err
		}
	}
	return values, nil
}

func invalidText(oid uint32, s string) *sqlError {
	return newError("22P02", "invalid input syntax for type "+pgtype.ByOID(oid).Name+`: "`+clip(s)+`"`, "")
}

func textValue(oid uint32, s string) (any, error) {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return nil, newError("22021", "a parameter is not valid UTF-8, or holds a zero byte", "")
	}
	if elem, ok := pgtype.Element(oid); ok {
		return parseArray(elem, s)
	}
	trimmed := strings.TrimSpace(s)
	switch oid {
	case pgtype.Bool:
		v, ok := boolean(s)
		if low := strings.ToLower(trimmed); low == "t" || low == "f" {
			v, ok = onOff(low == "t"), true
		}
		if !ok {
			return nil, invalidText(oid, s)
		}
		return v == "on", nil
	case pgtype.Int2, pgtype.Int4, pgtype.Int8, pgtype.OID:
		bits := map[uint32]int{pgtype.Int2: 16, pgtype.Int4: 32, pgtype.Int8: 64, pgtype.OID: 64}[oid]
		n, err := strconv.ParseInt(trimmed, 10, bits)
		if err != nil {
			if strings.Contains(err.Error(), "range") {
				return nil, newError("22003", `value "`+clip(s)+`" is out of range for type `+pgtype.ByOID(oid).Name, "")
			}
			return nil, invalidText(oid, s)
		}
		return n, nil
	case pgtype.Float4, pgtype.Float8:
		f, err := strconv.ParseFloat(trimmed, 64)
		if err != nil {
			return nil, invalidText(oid, s)
		}
		return floatValue(f), nil
	case pgtype.Bytea:
		return byteaText(s)
	case pgtype.Date, pgtype.Timestamp, pgtype.TimestampTZ:
		if ad, ok := strings.CutSuffix(trimmed, " BC"); ok {
			day, clock, _ := strings.Cut(ad, " ")
			return strings.TrimSpace(day + " (BC) " + clock), nil
		}
		return trimmed, nil
	}
	return s, nil
}

// floatValue is the number, or the text of one that JSON does not know.
func floatValue(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return f
}

// byteaText turns both of PostgreSQL's forms into DuckDB's, \xHH for each byte.
func byteaText(s string) (any, error) {
	if digits, ok := strings.CutPrefix(s, `\x`); ok {
		b, err := hex.DecodeString(digits)
		if err != nil {
			return nil, invalidText(pgtype.Bytea, s)
		}
		return blobText(b), nil
	}
	var b []byte
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\':
			b = append(b, s[i])
		case strings.HasPrefix(s[i:], `\\`):
			b = append(b, '\\')
			i++
		default:
			if i+4 > len(s) {
				return nil, invalidText(pgtype.Bytea, s)
			}
			n, err := strconv.ParseUint(s[i+1:i+4], 8, 8)
			if err != nil {
				return nil, invalidText(pgtype.Bytea, s)
			}
			b = append(b, byte(n))
			i += 3
		}
	}
	return blobText(b), nil
}

func blobText(b []byte) string {
	out := make([]byte, 0, 4*len(b))
	for _, x := range b {
		out = append(out, '\\', 'x')
		out = hex.AppendEncode(out, []byte{x})
	}
	return string(out)
}

// parseArray reads {…} of one dimension.
func parseArray(elem uint32, s string) (any, error) {
	bad := newError("22P02", `malformed array literal: "`+clip(s)+`"`, "arrays of one dimension, as {1,2}")
	body := strings.TrimSpace(s)
	if strings.HasPrefix(body, "[") { // bounds
		if _, after, ok := strings.Cut(body, "="); ok {
			body = strings.TrimSpace(after)
		}
	}
	if len(body) < 2 || body[0] != '{' || body[len(body)-1] != '}' {
		return nil, bad
	}
	body = body[1 : len(body)-1]
	values := []any{}
	if strings.TrimSpace(body) == "" {
		return values, nil
	}
	for i := 0; ; {
		var item strings.Builder
		inQuotes := false
		for ; i < len(body) && (body[i] == ' ' || body[i] == '\t' || body[i] == '\n'); i++ {
		}
		if i < len(body) && body[i] == '"' {
			inQuotes = true
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
				if i < len(body) {
					item.WriteByte(body[i])
				}
			}
			if i >= len(body) {
				return nil, bad
			}
			for i++; i < len(body) && body[i] == ' '; i++ {
			}
		} else {
			for ; i < len(body) && body[i] != ','; i++ {
				switch body[i] {
				case '{', '}', '"':
					return nil, bad
				case '\\':
					i++
				}
				if i < len(body) {
					item.WriteByte(body[i])
				}
			}
		}
		val := item.String()
		switch {
		case !inQuotes && strings.EqualFold(strings.TrimSpace(val), "null"):
			values = append(values, nil)
		case !inQuotes && strings.TrimSpace(val) == "":
			return nil, bad
		default:
			if !inQuotes {
				val = strings.TrimRight(val, " \t\n")
			}
			v, err := textValue(elem, val)
			if err != nil {
				return nil, err
			}
			values = append(values, v)
		}
		if i >= len(body) {
			return values, nil
		}
		if body[i] != ',' {
			return nil, bad
		}
		i++
	}
}

func binaryValue(oid uint32, b []byte) (any, error) {
	be := binary.BigEndian
	if elem, ok := pgtype.Element(oid); ok {
		return binaryArray(elem, b)
	}
	wrong := newError("22P03", "incorrect binary data format for a parameter of type "+pgtype.ByOID(oid).Name, "")
	if want := pgtype.ByOID(oid).Len; want > 0 && oid != 18 && oid != 19 && len(b) != int(want) {
		return nil, wrong
	}
	switch oid {
	case pgtype.Bool:
		return b[0] != 0, nil
	case pgtype.Int2:
		return int64(int16(be.Uint16(b))), nil
	case pgtype.Int4:
		return int64(int32(be.Uint32(b))), nil
	case pgtype.OID:
		return int64(be.Uint32(b)), nil
	case pgtype.Int8:
		return int64(be.Uint64(b)), nil
	case pgtype.Float4:
		// By its own digits, so that it stays what the client sees: 0.1 and not 0.10000000149.
		f, err := strconv.ParseFloat(strconv.FormatFloat(float64(math.Float32frombits(be.Uint32(b))), 'g', -1, 32), 64)
		if err != nil {
			return nil, wrong
		}
		return floatValue(f), nil
	case pgtype.Float8:
		return floatValue(math.Float64frombits(be.Uint64(b))), nil
	case pgtype.Bytea:
		return blobText(b), nil
	case pgtype.JSONB:
		if len(b) == 0 || b[0] != 1 {
			return nil, wrong
		}
		return textValue(pgtype.Text, string(b[1:]))
	case pgtype.UUID:
		h := hex.EncodeToString(b)
		return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
	case pgtype.Numeric:
		s, ok := numericText(b)
		if !ok {
			return nil, wrong
		}
		return s, nil
	case pgtype.Date:
		return dateText(int32(be.Uint32(b))), nil
	case pgtype.Timestamp, pgtype.TimestampTZ:
		return timestampText(int64(be.Uint64(b)), oid == pgtype.TimestampTZ), nil
	case pgtype.Time:
		return clockText(int64(be.Uint64(b))), nil
	case pgtype.TimeTZ:
		return clockText(int64(be.Uint64(b))) + offsetText(-int(int32(be.Uint32(b[8:])))), nil
	case pgtype.Interval:
		us, days, months := int64(be.Uint64(b)), int32(be.Uint32(b[8:])), int32(be.Uint32(b[12:]))
		return strconv.Itoa(int(months)) + " months " + strconv.Itoa(int(days)) + " days " + strconv.FormatInt(us, 10) + " microseconds", nil
	case pgtype.Varbit:
		if len(b) < 4 || int(be.Uint32(b)) > 8*(len(b)-4) {
			return nil, wrong
		}
		bits := make([]byte, be.Uint32(b))
		for i := range bits {
			bits[i] = '0' + b[4+i/8]>>(7-i%8)&1
		}
		return string(bits), nil
	}
	return textValue(pgtype.Text, string(b))
}

func binaryArray(elem uint32, b []byte) (any, error) {
	be := binary.BigEndian
	wrong := newError("22P03", "incorrect binary data format for an array", "arrays have one dimension")
	if len(b) < 12 {
		return nil, wrong
	}
	dimensions := be.Uint32(b)
	if sent := be.Uint32(b[8:]); sent != 0 {
		elem = sent
	}
	if dimensions == 0 {
		return []any{}, nil
	}
	if dimensions != 1 || len(b) < 20 {
		return nil, wrong
	}
	n := int64(int32(be.Uint32(b[12:])))
	if b = b[20:]; n < 0 || 4*n > int64(len(b)) {
		return nil, wrong
	}
	values := make([]any, n)
	for i := range values {
		if len(b) < 4 {
			return nil, wrong
		}
		size := int64(int32(be.Uint32(b)))
		if b = b[4:]; size == -1 {
			continue
		}
		if size < 0 || size > int64(len(b)) {
			return nil, wrong
		}
		if _, nested := pgtype.Element(elem); nested {
			return nil, wrong
		}
		v, err := binaryValue(elem, b[:size])
		if err != nil {
			return nil, err
		}
		values[i], b = v, b[size:]
	}
	return values, nil
}
