package store

import "sync/atomic"

// commits counts those that readers may see, before and after each.
type commits struct{ begun, ended atomic.Uint64 }

// committing is called before a COMMIT, and what it returns after it.
func (s *Store) committing() (done func()) {
	s.commits.begun.Add(1)
	return func() { s.commits.ended.Add(1) }
}

// Mark is another number after any commit. settled says that none was under way: what was planned after one settled Mark holds for a
// transaction that began before another with the same number.
func (s *Store) Mark() (n uint64, settled bool) {
	ended := s.commits.ended.Load()
	n = s.commits.begun.Load()
	return n, n == ended
}
