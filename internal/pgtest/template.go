package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Password is the superuser's, for connections over TCP. The UNIX socket asks for none.
const Password = "pintail-test"

// templateFormat changes when the arguments of initdb do, so that no template of older arguments is used.
const templateFormat = 1

// template is a data folder fresh from initdb, made once per version and user: copying it takes a tenth of the time.
// All servers copied from it share one system identifier.
func (b Binaries) template(ctx context.Context, a *account) (string, error) {
	dir := filepath.Join(filepath.Dir(b.Dir), fmt.Sprintf("template%d-%s-%d", templateFormat, b.Version, a.id()))
	if exists(dir) {
		return dir, nil
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(dir) {
		return dir, nil // another process was first
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".initdb-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := a.own(tmp); err != nil {
		return "", err
	}
	if err := b.initdb(ctx, a, tmp); err != nil {
		return "", err
	}
	return dir, os.Rename(filepath.Join(tmp, "data"), dir)
}

// initdb makes dir/data.
func (b Binaries) initdb(ctx context.Context, a *account, dir string) error {
	passwordFile := filepath.Join(dir, "password")
	if err := errors.Join(os.WriteFile(passwordFile, []byte(Password+"\n"), 0o600), a.own(passwordFile)); err != nil {
		return err
	}
	defer os.Remove(passwordFile)
	return runAs(ctx, a, dir, b.Bin("initdb"), "--pgdata="+filepath.Join(dir, "data"), "--username=postgres",
		"--encoding=UTF8", "--locale=C", "--auth-local=trust", "--auth-host=scram-sha-256",
		"--pwfile="+passwordFile, "--no-sync")
}

// copyTemplate makes dir/data from a template.
func copyTemplate(ctx context.Context, a *account, template, dir string) error {
	return runAs(ctx, a, dir, "cp", "-R", template, filepath.Join(dir, "data"))
}

// runAs runs a short command as the server's user, whose home is not ours and may not exist.
func runAs(ctx context.Context, a *account, dir, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = a.procAttr()
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(name), err, out)
	}
	return nil
}
