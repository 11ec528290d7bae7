// Command run is the demo: a throwaway PostgreSQL with live data, and pintail serving a copy of it.
//
// Everything it makes lies in one temporary folder, which it removes when it ends: after Ctrl-C, SIGTERM, the end of
// pintail or an error. Killed outright, its processes end with it and the next start removes the folder.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/pintaildb/pintail/internal/fault"
)

func main() {
	o := options{}
	flag.StringVar(&o.pintail, "pintail", "bin/pintail", "the binary to run; `make build` makes it")
	flag.IntVar(&o.messages, "messages", 200_000, "messages to seed")
	flag.Float64Var(&o.rate, "rate", 20, "transactions a second that keep changing the source")
	flag.IntVar(&o.port, "port", 8500, "HTTP port of pintail; when it is taken, any other")
	flag.BoolVar(&o.once, "once", false, "sync, query, verify, and stop")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo: unexpected argument %q\n", flag.Arg(0))
		os.Exit(fault.ExitConfig)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the demo at once
	err := run(ctx, o, os.Stdout)
	switch {
	case err != nil:
		report(os.Stderr, err)
		os.Exit(fault.ExitFailed)
	case o.once && ctx.Err() != nil:
		os.Exit(fault.ExitInterrupted)
	}
}

func report(w io.Writer, err error) {
	fmt.Fprintf(w, "demo: %v\n", err)
	if hint := fault.HintOf(err); hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
}
