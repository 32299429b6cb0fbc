package matchers

import (
	"fmt"
	"reflect"

	"github.com/onsi/gomega/format"
)

// Exiter is what ExitWith takes: a result, or a handle of a command that may still run.
type Exiter interface {
	// ExitCode is -1 while the command runs, then its exit status.
	ExitCode() int
}

// Outputter is what OutputContaining and OutputMatching take.
type Outputter interface {
	// Stdout is all that the command wrote to its standard output.
	Stdout() string
}

// ErrorOutputter is what ErrorOutputContaining takes.
type ErrorOutputter interface {
	// Stderr is all that the command wrote to its standard error.
	Stderr() string
}

// running is the exit code of a command that has not ended.
const running = -1

// as returns actual as a T, or an error that says what matcher was given and what it needs.
func as[T any](matcher, methods string, actual any) (T, error) {
	var none T
	if actual == nil {
		return none, fmt.Errorf("%s needs a result with %s, and was given nil", matcher, methods)
	}
	if value := reflect.ValueOf(actual); value.Kind() == reflect.Pointer && value.IsNil() {
		return none, fmt.Errorf("%s needs a result with %s, and was given a nil %T: look at the error that came with it",
			matcher, methods, actual)
	}
	typed, ok := actual.(T)
	if !ok {
		return none, fmt.Errorf("%s needs a result with %s, and was given\n%s", matcher, methods, format.Object(actual, 1))
	}
	return typed, nil
}

// mayChange reports whether a later look at actual may see something else. A result never changes; a handle does until
// its command has ended.
func mayChange(actual any) bool {
	exiter, err := as[Exiter]("", "", actual)
	return err != nil || exiter.ExitCode() == running
}
