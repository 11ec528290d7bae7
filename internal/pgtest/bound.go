package pgtest

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Bound is a process that does not outlive this one.
type Bound struct {
	Pid  int
	Done <-chan struct{} // closed when it has ended and was waited for
	err  error
}

// StartBound starts cmd, which it then owns. When this process ends, however that happens, the kernel sends sig to it
// (linux; elsewhere nothing does).
func StartBound(cmd *exec.Cmd, sig syscall.Signal) (*Bound, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	dieWithParent(cmd.SysProcAttr, sig)
	done, started := make(chan struct{}), make(chan error)
	b := &Bound{Done: done}
	go func() {
		runtime.LockOSThread() // the signal comes when this thread ends: it must live as long as the process
		err := cmd.Start()
		if err == nil {
			b.Pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			b.err = cmd.Wait()
			close(done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return b, nil
}

// Err is how the process ended; it waits for that.
func (b *Bound) Err() error {
	<-b.Done
	return b.err
}
