// Command pintail keeps a DuckDB analytics copy of PostgreSQL in sync and serves it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pintaildb/pintail/internal/fault"
)

// version is set by the build: -ldflags "-X main.version=…".
var version = "dev"

const exitHelp = `Exit codes: 0 done, 1 failed, 2 configuration or usage, 3 differences found (verify, check),
4 file locked by another process, 130 interrupted.`

func main() {
	// A write beyond the limit of file sizes then fails like one to a full disk, instead of ending the process.
	signal.Ignore(syscall.SIGXFSZ)
	ctx, stop := interruptible()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// interruptible is cancelled by the first SIGINT or SIGTERM; the second one ends the process at once.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		s := <-signals
		cancel(fault.New(fault.Cancelled, "", "stopped by %s", s))
		<-signals
		os.Exit(fault.ExitInterrupted)
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	a := &app{out: out, errOut: errOut}
	root := a.root() //nolint:contextcheck // Commands get the context from cobra, which is given it below.
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return fault.ExitOK
	}
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(errOut, "pintail: %v\n", err)
		return fault.ExitConfig
	}
	var told *toldError
	if !errors.As(err, &told) {
		a.printError(err)
	}
	return fault.ExitCode(err)
}

// toldError is a failure that was printed when it happened: what is left to tell is the exit code.
type toldError struct{ err error }

func (e *toldError) Error() string { return e.err.Error() }
func (e *toldError) Unwrap() error { return e.err }

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "pintail",
		Short:         "Keep a DuckDB analytics copy of PostgreSQL in sync and serve it",
		Long:          "Pintail keeps a DuckDB analytics copy of PostgreSQL in sync and serves it.\n\n" + exitHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
	})
	f := root.PersistentFlags()
	f.StringVarP(&a.configPath, "config", "c", "pintail.yaml", "configuration `FILE`")
	f.StringVar(&a.server, "server", os.Getenv("PINTAIL_SERVER"), "talk to a running server at `URL` instead of opening the file (PINTAIL_SERVER; token in PINTAIL_TOKEN)")
	f.StringVar(&a.logLevel, "log-level", "", "debug, info, warn or error (default: info for serve, warn otherwise)")
	f.StringVar(&a.logFormat, "log-format", "auto", "text, json, or auto: text on a terminal")
	root.AddCommand(a.serveCmd(), a.syncCmd(), a.checkCmd(), a.initCmd(), a.statusCmd(), a.runsCmd(), a.queryCmd(), a.queriesCmd(), a.verifyCmd(),
		a.reloadCmd(), a.slotsCmd(), a.retryCmd(), a.referenceCmd())
	commands := root.Commands()
	for _, c := range root.Commands() {
		commands = append(commands, c.Commands()...)
	}
	for _, c := range commands {
		args := c.Args
		c.Args = func(cmd *cobra.Command, given []string) error {
			if args == nil {
				return nil
			}
			if err := args(cmd, given); err != nil {
				return &usageError{fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
			}
			return nil
		}
	}
	root.RunE = func(c *cobra.Command, args []string) error { return c.Help() }
	root.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return &usageError{fmt.Errorf("there is no command %q; see `pintail --help`", args[0])}
		}
		return nil
	}
	return root
}
