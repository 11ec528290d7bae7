package store

/*
#include <time.h>

static void pintail_nap(long ns) {
	struct timespec t = {0, ns};
	nanosleep(&t, 0);
}
*/
import "C"

import "time"

// nap sleeps for less than a millisecond. time.Sleep takes a whole one for it in a process that has nothing else to do, since Go then
// waits with the poller's clock; a statement that takes half of that would be kept waiting for longer than it runs.
func nap(d time.Duration) { C.pintail_nap(C.long(d)) }
