package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/onsi/gomega/gbytes"
	"github.com/onsi/gomega/types"
)

// say is gbytes.Say for a text, not an expression.
func say(text string) types.GomegaMatcher { return gbytes.Say("%s", regexp.QuoteMeta(text)) }

// family are the processes below this one, and itself, that have not ended.
func family() map[string]bool {
	parents := map[string]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		if parent, state := parentOf(path); state != "Z" {
			parents[filepath.Base(filepath.Dir(path))] = parent
		}
	}
	self := fmt.Sprint(os.Getpid())
	all := map[string]bool{}
	for pid := range parents {
		for up := pid; up != "" && up != "0"; up = parents[up] {
			if up == self {
				all[pid] = true
				break
			}
		}
	}
	return all
}

// parentOf reads proc(5)'s stat: the name in parentheses may hold anything, so what counts is what follows the last one.
func parentOf(path string) (parent, state string) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", "Z"
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
	if len(fields) < 2 {
		return "", "Z"
	}
	return fields[1], fields[0]
}
