package labtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"ionlab/internal/lab"
)

// Setup is what a suite does to a lab before its specs: it installs, configures and starts what is tested. Once done it is kept: the
// machines are saved as Do has left them, with all that runs in them, and the next Start with an equal Setup begins there. A
// package that takes a minute to install is there at once, as often as a spec wants a new lab.
//
// Do is done again when something changed that its result depends on: the topology or what it deploys, one of Files, Key, or the
// source that Do is written in: its file if that is a test's, else its package's. So a new build of what is tested, if it is one of Files, is always installed.
type Setup struct {
	// Do sets the machines up. Only what is in them then is kept: a variable that Do sets is not set where it is not called, so ask
	// the machines after Start. Connections and commands that are still open when it returns are ended. Conditions of links,
	// routers and partitions do not belong here; Start fails when Do has changed one. Its error fails the spec.
	Do func(ctx context.Context, l *Lab) error
	// Files are files and folders of the host that Do puts into the machines, or that say what it does: packages, programs, the
	// folder of a fixture's sources. Their contents count, and their last names. Paths are relative to the suite's folder.
	Files []string
	// Key is what else the result depends on, such as an option. It may be empty.
	Key string
}

// WithSetup has Start set the lab up, or begin with a snapshot of one that was set up so before. With LABTEST_WARM=off, and
// WithColdStart, it is done each time.
func WithSetup(setup Setup) Option { return func(s *settings) { s.setup = &setup } }

// forLab is the setup of one lab.
func (s *Setup) forLab(l *Lab) (*lab.SetUp, error) {
	if s == nil {
		return nil, nil
	}
	if s.Do == nil {
		return nil, errors.New("WithSetup: Setup.Do is nil: give the function that sets the lab up")
	}
	sources, err := sourcesOf(reflect.ValueOf(s.Do).Pointer())
	if err != nil {
		return nil, err
	}
	return &lab.SetUp{
		Do: func(ctx context.Context) error {
			l.started.Store(true) // an assertion that fails in Do has its evidence taken as in any spec
			return s.Do(ctx, l)
		},
		Files: append(sources, s.Files...),
		Key:   s.Key,
	}, nil
}

// sourcesOf are the files that say what the function at pc does: the one it is written in, or where that belongs to a package that is not a
// test, as a fixture, the package's. Where they are not at hand it is the program, which changes more often.
func sourcesOf(pc uintptr) ([]string, error) {
	file, _ := runtime.FuncForPC(pc).FileLine(pc)
	if _, err := os.Stat(file); err != nil {
		program, err := os.Executable()
		return []string{program}, err
	}
	if strings.HasSuffix(file, testSuffix) {
		return []string{file}, nil
	}
	all, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*.go"))
	return slices.DeleteFunc(all, func(name string) bool { return strings.HasSuffix(name, testSuffix) }), err
}

const testSuffix = "_test.go"
