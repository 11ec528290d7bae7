package pgwire

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"sync"
)

// cancels finds the connection that a CancelRequest means. Nothing of this is ever logged.
type cancels struct {
	mu     sync.Mutex
	byID   map[uint32]*conn
	secret map[uint32][]byte
}

func newCancels() *cancels {
	return &cancels{byID: map[uint32]*conn{}, secret: map[uint32][]byte{}}
}

// add gives c a process id, positive as clients expect it, and a secret of so many bytes, both drawn by chance.
func (k *cancels) add(c *conn, bytes int) (id uint32, secret []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		var b [4]byte
		rand.Read(b[:])
		id = binary.BigEndian.Uint32(b[:])&0x7fffffff | 1
		if k.byID[id] == nil {
			break
		}
	}
	secret = make([]byte, bytes)
	rand.Read(secret)
	k.byID[id], k.secret[id] = c, secret
	return id, secret
}

func (k *cancels) remove(id uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.byID, id)
	delete(k.secret, id)
}

// request cancels what the connection with that id runs at this moment, if it runs something and the secret is right.
func (k *cancels) request(id uint32, secret []byte) {
	k.mu.Lock()
	c := k.byID[id]
	right := c != nil && subtle.ConstantTimeCompare(secret, k.secret[id]) == 1
	k.mu.Unlock()
	if right {
		c.cancelRunning()
	}
}
