package access

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"github.com/pintaildb/pintail/internal/fault"
)

// sessionTokenPrefix begins tokens that stand for a password.
const sessionTokenPrefix = "pintail_session."

// SessionToken gives p, who has logged in with a password, a bearer token that stands for it: some clients trade the password for
// a token once and never again. It is good for as long as the user has this password, also after a restart. False for one who
// has no password here.
func (a *Access) SessionToken(p Principal) (token string, ok bool) {
	u := a.state.Load().byName[p.User]
	if u == nil || !u.hasPassword {
		return "", false
	}
	nonce := make([]byte, 12)
	rand.Read(nonce) // never fails
	e := base64.RawURLEncoding
	body := sessionTokenPrefix + e.EncodeToString([]byte(u.name)) + "." + e.EncodeToString(nonce)
	return body + "." + e.EncodeToString(u.signSession(body)), true
}

// signSession is keyed with the password's slow hash: who holds a token learns no more of the password than he would of that.
func (u *user) signSession(body string) []byte {
	m := hmac.New(sha256.New, u.hash)
	m.Write([]byte(body))
	return m.Sum(nil)
}

// session finds the user of a session token; who is the name that it claims, for the throttle and the log.
func (st *state) session(token string) (p Principal, who string, err error) {
	wrong := fault.New(fault.Unauthenticated, "log in again with the password", "the session token is not good any more")
	cut := strings.LastIndexByte(token, '.')
	body, sum := token[:cut], token[cut+1:]
	name, _, _ := strings.Cut(strings.TrimPrefix(body, sessionTokenPrefix), ".")
	e := base64.RawURLEncoding
	raw, err := e.DecodeString(name)
	if err != nil {
		return Principal{}, "", wrong
	}
	signature, err := e.DecodeString(sum)
	u := st.byName[string(raw)]
	if err != nil || u == nil || !u.hasPassword {
		return Principal{}, "", wrong
	}
	if subtle.ConstantTimeCompare(signature, u.signSession(body)) != 1 {
		return Principal{}, u.name, wrong
	}
	p, err = st.login(u)
	return p, u.name, err
}
