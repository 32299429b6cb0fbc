package topology

import (
	"slices"
	"strings"
)

// suggest returns the known word that the author most likely meant, or "".
func suggest(word string, known []string) string {
	// Beyond this length nobody mistypes one of our words, and the distance would be dear to compute.
	const longest = 64
	if word == "" || len(word) > longest {
		return ""
	}
	best, distance := "", len(word)/3+2
	for _, candidate := range known {
		if d := editDistance(strings.ToLower(word), strings.ToLower(candidate)); d < distance {
			best, distance = candidate, d
		}
	}
	return best
}

// didYouMean returns the remedy for an unknown word: the likely one, and all that are known.
func didYouMean(word string, known []string) string {
	all := "known are " + strings.Join(shortened(known), ", ")
	if len(known) == 0 {
		all = "none is known"
	}
	if likely := suggest(word, known); likely != "" {
		return "did you mean " + likely + "? " + all
	}
	return all
}

// shortened keeps a list readable.
func shortened(names []string) []string {
	const most = 24
	if len(names) <= most {
		return names
	}
	return append(slices.Clone(names[:most]), "...")
}

// editDistance counts the insertions, deletions and replacements of bytes between a and b (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
