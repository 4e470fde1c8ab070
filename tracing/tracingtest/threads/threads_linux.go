// Package threads has librdkafka fail to start threads, as it does where memory is
// short, in the tests of a program that it is linked into. It takes the place of
// thrd_create of the C library, which librdkafka starts all its threads with and Go none.
package threads

/*
#cgo LDFLAGS: -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <threads.h>

static atomic_int allowed = -1; // how many threads more are started before one is refused; -1: all

static void refuse(int after) { atomic_store(&allowed, after); }

static int refused(void) { return atomic_load(&allowed) < 0; }

int thrd_create(thrd_t *thread, thrd_start_t start, void *arg) {
	static int (*real)(thrd_t *, thrd_start_t, void *);
	if (atomic_load(&allowed) >= 0 && atomic_fetch_sub(&allowed, 1) == 0)
		return thrd_nomem;
	if (real == NULL)
		real = (int (*)(thrd_t *, thrd_start_t, void *))dlsym(RTLD_NEXT, "thrd_create");
	return real(thread, start, arg);
}
*/
import "C"

import "testing"

// RefuseOne has librdkafka fail to start one thread of this process: that behind the
// next so many, if they are started in the test.
func RefuseOne(t testing.TB, after int) {
	C.refuse(C.int(after))
	t.Cleanup(func() { C.refuse(-1) })
}

// Refused tells whether that has happened.
func Refused() bool { return C.refused() != 0 }
