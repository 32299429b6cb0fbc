package doctor

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// version is a dotted number, compared part by part.
type version []int

// versionIn returns the first dotted number in a program's text.
func versionIn(text string) (version, bool) {
	found := regexp.MustCompile(`\d+(\.\d+)+`).FindString(text)
	if found == "" {
		return nil, false
	}
	var parsed version
	for _, part := range strings.Split(found, ".") {
		number, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		parsed = append(parsed, number)
	}
	return parsed, true
}

func (v version) less(other version) bool { return slices.Compare(v, other) < 0 }

func (v version) String() string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint([]int(v)), "[]"), " ", ".")
}
