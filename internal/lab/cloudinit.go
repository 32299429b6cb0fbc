package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// checkInit reads what initScript printed: the instance id, then result.json and status.json of cloud-init. What is
// called recoverable there (status "degraded") counts as an error: a lab that is not as declared is not a lab.
// Source: cloud-init's documentation of /run/cloud-init/{result,status}.json.
func checkInit(text, wantID string) error {
	id, rest, _ := strings.Cut(text, "\n")
	if strings.TrimSpace(id) != wantID {
		return fmt.Errorf("cloud-init worked for instance %q, not for %q: it did not read this lab's seed", strings.TrimSpace(id), wantID)
	}
	decoder := json.NewDecoder(strings.NewReader(rest))
	var result struct {
		V1 struct {
			Datasource string   `json:"datasource"`
			Errors     []string `json:"errors"`
		} `json:"v1"`
	}
	if err := decoder.Decode(&result); err != nil {
		return fmt.Errorf("read cloud-init's result.json: %w", err)
	}
	var status struct {
		V1 map[string]json.RawMessage `json:"v1"`
	}
	if err := decoder.Decode(&status); err != nil {
		return fmt.Errorf("read cloud-init's status.json: %w", err)
	}
	problems := result.V1.Errors
	for _, name := range slices.Sorted(maps.Keys(status.V1)) {
		problems = append(problems, recoverable(name, status.V1[name])...)
	}
	if len(problems) > 0 {
		return fmt.Errorf("cloud-init reports: %s", strings.Join(problems, "; "))
	}
	return nil
}

// recoverable returns the recoverable errors of one stage of status.json, which are lists of texts by severity.
func recoverable(stage string, raw json.RawMessage) []string {
	var part struct {
		Recoverable map[string][]string `json:"recoverable_errors"`
	}
	if json.Unmarshal(raw, &part) != nil {
		return nil // a field that is not a stage
	}
	var out []string
	for _, severity := range slices.Sorted(maps.Keys(part.Recoverable)) {
		if severity == "DEPRECATED" {
			continue // about the way the seed is written, not about what became of it
		}
		for _, text := range part.Recoverable[severity] {
			out = append(out, fmt.Sprintf("%s (%s): %s", stage, severity, text))
		}
	}
	return out
}
