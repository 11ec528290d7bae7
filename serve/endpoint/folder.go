// Package endpoint publishes SQL files: it reads their headers, checks requests' parameters, follows the folder while it changes, and keeps
// answers. It runs nothing and knows no protocol: the HTTP door does, with what it finds here.
package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pintaildb/pintail/access"
	"github.com/pintaildb/pintail/config"
	"github.com/pintaildb/pintail/internal/fault"
)

// Checker reads a statement without running it: what it touches, as access judges it. An error is what is wrong with its text; a table that is
// not there (yet) is none.
type Checker func(ctx context.Context, sql string) (access.Statement, error)

// Options of a Folder; Path is needed.
type Options struct {
	Path  string
	Every time.Duration // within which a change takes effect; 2 s
	Rate  config.Rate   // of endpoints that name none
	Check Checker       // nil: statements are not looked into
	Log   *slog.Logger
}

// Published is an endpoint with what is known of its statement.
type Published struct {
	*Endpoint
	Statement access.Statement
}

// Set is what is published at one moment. Nothing in it is changed.
type Set struct {
	byName   map[string]*Published
	Problems config.Problems // of files that are not published as they are now
}

// Get is the endpoint of a name, or nil.
func (s *Set) Get(name string) *Published { return s.byName[name] }

// All are the endpoints, sorted by name.
func (s *Set) All() []*Published {
	all := make([]*Published, 0, len(s.byName))
	for _, name := range sortedNames(s.byName) {
		all = append(all, s.byName[name])
	}
	return all
}

// Folder follows a folder of .sql files. Set may be called from any goroutine.
type Folder struct {
	opts  Options
	log   *slog.Logger
	set   atomic.Pointer[Set]
	files map[string]*file // by path within the folder; Load's and Run's alone
}

// file is one file as it was found.
type file struct {
	stat    stat
	text    string
	settled bool       // the text was the same in two looks
	taken   bool       // publish has dealt with it
	good    *Published // of its last good text; nil: there was none
	err     error      // why it is not published as it is now
}

// stat is what shows cheaply that a file has changed.
type stat struct {
	size int64
	at   time.Time
	mode fs.FileMode
}

const (
	fileBytesMax = 1 << 20
	filesMax     = 10_000
	depthMax     = 8
)

// New makes a Folder, whose Set is empty before Load.
func New(o Options) *Folder {
	if o.Every <= 0 {
		o.Every = 2 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &Folder{opts: o, log: o.Log, files: map[string]*file{}}
	f.set.Store(&Set{byName: map[string]*Published{}})
	return f
}

// Set is what is published now.
func (f *Folder) Set() *Set { return f.set.Load() }

// Load reads the folder at once, as it is. Run goes on from there.
func (f *Folder) Load(ctx context.Context) {
	err := f.look(ctx)
	for _, x := range f.files {
		x.settled = true
	}
	f.publish(ctx, err)
}

// Run follows the folder until ctx ends. A changed file is taken when it was the same in two looks: so one that is being written is not taken
// half, unless its writer pauses for longer than a quarter of Options.Every; whoever renames a file into its place needs no luck.
func (f *Folder) Run(ctx context.Context) error {
	tick := time.NewTicker(f.opts.Every / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		f.publish(ctx, f.look(ctx))
	}
}

// look reads what has changed since the last look. Its error is the folder's own: then everything stays as it is.
func (f *Folder) look(ctx context.Context) error {
	found := map[string]bool{}
	root, err := filepath.EvalSymlinks(f.opts.Path)
	if err != nil {
		return err
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path != root && errors.Is(err, fs.ErrNotExist) { // it goes away just now
				return nil
			}
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, err := filepath.Rel(root, path)
		switch {
		case err != nil || rel == ".":
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") || strings.Count(rel, string(filepath.Separator)) >= depthMax):
			return fs.SkipDir
		case d.IsDir() || strings.HasPrefix(d.Name(), ".") || filepath.Ext(rel) != ".sql":
			return nil
		}
		rel = filepath.ToSlash(rel)
		if found[rel] = true; len(found) > filesMax {
			return fmt.Errorf("it holds more than %d .sql files", filesMax)
		}
		x := f.files[rel]
		if x == nil {
			x = &file{}
			f.files[rel] = x
		}
		x.read(path)
		return nil
	})
	if err != nil {
		return err
	}
	for rel := range f.files {
		if !found[rel] {
			delete(f.files, rel)
		}
	}
	return nil
}

// steady is how old a file's time has to be for another text to show in it: file systems round it.
const steady = 3 * time.Second

// read looks at one file.
func (x *file) read(path string) {
	info, err := os.Stat(path)
	if err != nil {
		x.unreadable(err)
		return
	}
	now := stat{info.Size(), info.ModTime(), info.Mode()}
	if now == x.stat && x.settled && time.Since(now.at) > steady {
		return
	}
	text := ""
	switch {
	case !info.Mode().IsRegular():
		err = errors.New("it is no regular file")
	case info.Size() > fileBytesMax:
		err = fmt.Errorf("it has %d bytes, the most is %d", info.Size(), fileBytesMax)
	default:
		text, err = readAll(path)
	}
	if err != nil {
		x.unreadable(err)
		return
	}
	same := x.stat != stat{} && text == x.text
	if !same {
		x.taken = false
	}
	x.stat, x.text, x.settled = now, text, same
}

// unreadable keeps what was published of the file.
func (x *file) unreadable(err error) {
	*x = file{good: x.good, taken: true, err: err}
}

func readAll(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if len(b) > fileBytesMax {
		err = fmt.Errorf("it has more than %d bytes", fileBytesMax)
	}
	return string(b), err
}

// publish takes the settled texts, and puts everything into force in one moment.
func (f *Folder) publish(ctx context.Context, folderErr error) {
	old := f.Set()
	next := &Set{byName: map[string]*Published{}}
	if folderErr != nil {
		if ctx.Err() != nil {
			return
		}
		next.byName = old.byName
		next.Problems = config.Problems{{File: f.opts.Path, Text: fmt.Sprintf("the folder cannot be read, what is published stays: %v", folderErr)}}
		f.put(old, next)
		return
	}
	for _, rel := range sortedNames(f.files) {
		x := f.files[rel]
		path := filepath.Join(f.opts.Path, filepath.FromSlash(rel))
		if x.settled && !x.taken {
			good, err := f.take(ctx, strings.TrimSuffix(rel, ".sql"), path, x.text)
			if ctx.Err() != nil {
				return
			}
			x.taken, x.err = !fault.Transient(err), err
			if err == nil {
				x.good = good
			}
		}
		stays := ""
		if x.good != nil {
			stays = " (what it held before stays published)"
		}
		for _, p := range problemsOf(path, x.err) {
			p.Text += stays
			next.Problems = append(next.Problems, p)
		}
		if x.good == nil {
			continue
		}
		if first := next.byName[x.good.Name]; first != nil {
			next.Problems = append(next.Problems, config.Problem{File: path, Line: 1, Col: 1, Key: "name", Text: fmt.Sprintf("%s is the endpoint of %s already", x.good.Name, first.File)})
			continue
		}
		next.byName[x.good.Name] = x.good
	}
	f.put(old, next)
}

// take makes an endpoint of a text.
func (f *Folder) take(ctx context.Context, name, path, text string) (*Published, error) {
	e, err := Parse(name, path, []byte(text), f.opts.Rate)
	if err != nil {
		return nil, err
	}
	p := &Published{Endpoint: e}
	if f.opts.Check != nil {
		p.Statement, err = f.opts.Check(ctx, e.SQL)
	}
	return p, err
}

// problemsOf gives any error the form of those that name a place.
func problemsOf(path string, err error) config.Problems {
	if err == nil {
		return nil
	}
	if ps := Problems(err); ps != nil {
		return ps
	}
	text := err.Error()
	if hint := fault.HintOf(err); hint != "" {
		text += ": " + hint
	}
	return config.Problems{{File: path, Line: 1, Col: 1, Text: text}}
}

// put brings next into force and says what is other than before.
func (f *Folder) put(old, next *Set) {
	f.set.Store(next)
	for _, name := range sortedNames(next.byName) {
		switch before := old.byName[name]; {
		case before == nil:
			f.log.Info("endpoint published", "endpoint", name, "file", next.byName[name].File)
		case before.Revision != next.byName[name].Revision || before.File != next.byName[name].File:
			f.log.Info("endpoint changed", "endpoint", name, "file", next.byName[name].File)
		}
	}
	for _, name := range sortedNames(old.byName) {
		if next.byName[name] == nil {
			f.log.Info("endpoint removed", "endpoint", name)
		}
	}
	known := map[string]bool{}
	for _, p := range old.Problems {
		known[p.Error()] = true
	}
	for _, p := range next.Problems {
		if !known[p.Error()] {
			f.log.Error("an endpoint's file is not taken", "problem", p.Error())
		}
	}
}

// Check reads a folder once, for those who want to know what is wrong with it. roles are those that exist.
func Check(ctx context.Context, path string, check Checker, roles []string) (*Set, config.Problems) {
	f := New(Options{Path: path, Check: check})
	f.Load(ctx)
	s := f.Set()
	problems := slices.Clone(s.Problems)
	for _, e := range s.All() {
		for _, r := range e.Roles {
			if !slices.Contains(roles, r) {
				problems = append(problems, config.Problem{File: e.File, Line: 1, Col: 1, Key: "roles", Text: fmt.Sprintf("there is no role %q%s", r, config.Candidate(r, roles))})
			}
		}
	}
	return s, problems
}
