package query

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/pintaildb/pintail/internal/fault"
)

// arrivals starts waiters one after the other and records the order in which they are let in.
type arrivals struct {
	t     *testing.T
	a     *admission
	order []string
}

func (s *arrivals) come(name, role string, roleMax int) context.CancelCauseFunc {
	ctx, cancel := context.WithCancelCause(s.t.Context())
	go func() {
		if err := s.a.acquire(ctx, role, roleMax); err != nil {
			s.order = append(s.order, name+": "+err.Error())
			return
		}
		s.order = append(s.order, name)
	}()
	synctest.Wait()
	return cancel
}

func (s *arrivals) leave(role string) {
	s.a.release(role)
	synctest.Wait()
}

func TestAdmissionIsFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &arrivals{t: t, a: newAdmission(2, 10)}
		for i := range 5 {
			s.come(fmt.Sprint(i), "r", 0)
		}
		require.Equal(t, []string{"0", "1"}, s.order)
		s.leave("r")
		require.Equal(t, []string{"0", "1", "2"}, s.order)
		s.leave("r")
		s.leave("r")
		require.Equal(t, []string{"0", "1", "2", "3", "4"}, s.order)
		running, waiting := s.a.counts()
		require.Equal(t, [2]int{2, 0}, [2]int{running, waiting})
	})
}

func TestAdmissionPassesByARoleAtItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &arrivals{t: t, a: newAdmission(3, 10)}
		s.come("a1", "a", 1)
		s.come("a2", "a", 1)
		s.come("b1", "b", 0)
		require.Equal(t, []string{"a1", "b1"}, s.order)
		s.leave("a")
		require.Equal(t, []string{"a1", "b1", "a2"}, s.order)
	})
}

func TestAdmissionRefusesWhenTheQueueIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &arrivals{t: t, a: newAdmission(1, 2)}
		s.come("0", "r", 0)
		s.come("1", "r", 0)
		s.come("2", "r", 0)
		err := s.a.acquire(t.Context(), "r", 0)
		require.Equal(t, fault.Unavailable, fault.CodeOf(err))
		require.True(t, fault.Transient(err))
		s.leave("r")
		s.leave("r")
		s.leave("r")
		require.Equal(t, []string{"0", "1", "2"}, s.order)
	})
}

func TestAdmissionOfAWaiterThatGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &arrivals{t: t, a: newAdmission(1, 10)}
		s.come("0", "r", 0)
		giveUp := s.come("1", "r", 0)
		s.come("2", "r", 0)
		giveUp(errors.New("had enough"))
		synctest.Wait()
		s.leave("r")
		require.Equal(t, []string{"0", "1: had enough", "2"}, s.order)
		s.leave("r")
		running, waiting := s.a.counts()
		require.Equal(t, [2]int{0, 0}, [2]int{running, waiting})
		require.Empty(t, s.a.byRole)
		require.Error(t, s.a.acquire(cancelled(t), "r", 0))
	})
}

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
