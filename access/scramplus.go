package access

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
)

// boundHeader is the only channel binding that is offered (RFC 5929): PostgreSQL's.
const boundHeader = "p=tls-server-end-point,,"

var errOtherChannel = errors.New("the channel that the client binds is not this one")

// boundLogin is a conversation of SCRAM-SHA-256-PLUS (RFC 5802): as SCRAM-SHA-256, but the last message, which the proof signs, names
// the channel. The library of the other steps has no such message.
type boundLogin struct {
	binding     []byte
	first       string // the client's first message without its header
	serverFirst string
}

// firstBound is First with channel binding.
func (s *Scram) firstBound(message string) (string, error) {
	bare, ok := strings.CutPrefix(message, boundHeader)
	switch {
	case s.binding == nil:
		return "", fault.New(fault.Usage, "", "channel binding was not offered")
	case !ok:
		return "", fault.New(fault.Usage, "bind the channel by tls-server-end-point", "the client's first SCRAM message does not bind the channel as its mechanism does")
	}
	reply, err := s.steps.Step("n,," + bare)
	if err != nil {
		return "", fault.New(fault.Usage, "", "the client's first SCRAM message: %w", err)
	}
	s.bound = &boundLogin{binding: s.binding, first: bare, serverFirst: reply}
	return reply, nil
}

// final checks the client's last message.
func (b *boundLogin) final(message string, keys scramKeys) (reply string, valid bool, err error) {
	at := strings.LastIndex(message, ",p=")
	if at < 0 {
		return "", false, errors.New("no proof")
	}
	unproven := message[:at]
	proof, err := base64.StdEncoding.DecodeString(message[at+len(",p="):])
	if err != nil || len(proof) != sha256.Size {
		return "", false, errors.New("no proof")
	}
	channel, rest, _ := strings.Cut(unproven, ",")
	want := "c=" + base64.StdEncoding.EncodeToString(append([]byte(boundHeader), b.binding...))
	if subtle.ConstantTimeCompare([]byte(channel), []byte(want)) != 1 {
		return "", false, errOtherChannel
	}
	// Both nonces together; extensions may follow.
	nonce, _, _ := strings.Cut(b.serverFirst, ",")
	if rest != nonce && !strings.HasPrefix(rest, nonce+",") {
		return "", false, errors.New("another nonce")
	}
	signed := []byte(b.first + "," + b.serverFirst + "," + unproven)
	key := hmacOf(keys.stored, signed)
	for i := range key {
		key[i] ^= proof[i]
	}
	stored := sha256.Sum256(key)
	if !hmac.Equal(stored[:], keys.stored) {
		return "", false, nil
	}
	return "v=" + base64.StdEncoding.EncodeToString(hmacOf(keys.server, signed)), true, nil
}

func hmacOf(key, message []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(message)
	return m.Sum(nil)
}
