package fault

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryCodeIsMapped reads the constants from the source, so that a new code without its row is noticed.
func TestEveryCodeIsMapped(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "fault.go", nil, 0)
	require.NoError(t, err)
	n := 0
	ast.Inspect(f, func(node ast.Node) bool {
		if v, ok := node.(*ast.ValueSpec); ok {
			if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Code" {
				n++
			}
		}
		return true
	})
	require.Len(t, codes, n)
	require.Len(t, grpcCodes, n)
	for c, r := range codes {
		require.True(t, r.http >= 400 && r.http < 600, c)
		require.NotZero(t, r.exit, c)
		require.NotZero(t, GRPCCode(New(c, "", "x")), c)
	}
}

func TestCodesSurviveWrapping(t *testing.T) {
	cause := errors.New("the cause")
	err := Wrap(New(DiskFull, "make room", "write %s: %w", "x.duckdb", cause), "sync %s", "shop")
	require.EqualError(t, err, "sync shop: write x.duckdb: the cause")
	require.ErrorIs(t, err, cause)
	require.Equal(t, DiskFull, CodeOf(err))
	require.Equal(t, "make room", HintOf(err))
	require.Equal(t, 507, HTTPStatus(err))
	require.Equal(t, ExitFailed, ExitCode(err))
	require.False(t, Transient(err))
	require.NoError(t, Wrap(nil, "nothing"))
}

func TestCodeOfOthers(t *testing.T) {
	require.Equal(t, Code(""), CodeOf(nil))
	require.Equal(t, ExitOK, ExitCode(nil))
	require.Equal(t, Internal, CodeOf(errors.New("x")))
	require.Equal(t, Cancelled, CodeOf(fmt.Errorf("x: %w", context.Canceled)))
	require.Equal(t, ExitInterrupted, ExitCode(context.Canceled))
	require.Equal(t, Limit, CodeOf(context.DeadlineExceeded))
	require.Equal(t, ExitLocked, ExitCode(New(Locked, "", "x")))
	require.Equal(t, ExitDifferences, ExitCode(New(Differences, "", "x")))
	require.Equal(t, ExitConfig, ExitCode(New(Config, "", "x")))
	require.True(t, Transient(New(SourceUnavailable, "", "x")))
	require.False(t, Valid("nonsense"))
}
