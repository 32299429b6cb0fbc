package main

import (
	"fmt"
	"slices"
)

// sample is what some rounds of one thing took, in the row's unit.
type sample struct {
	Values []float64 `json:"values"`
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
}

func (s *sample) add(value float64) {
	s.Values = append(s.Values, value)
	sorted := slices.Sorted(slices.Values(s.Values))
	half := len(sorted) / 2
	s.Median, s.Min, s.Max = sorted[half], sorted[0], sorted[len(sorted)-1]
	if len(sorted)%2 == 0 {
		s.Median = (sorted[half-1] + sorted[half]) / 2
	}
}

func (s *sample) String() string {
	if len(s.Values) == 0 {
		return "–"
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Min), number(s.Max))
}

// number has three digits that count.
func number(value float64) string {
	switch {
	case value >= 100:
		return fmt.Sprintf("%.0f", value)
	case value >= 10:
		return fmt.Sprintf("%.1f", value)
	}
	return fmt.Sprintf("%.2f", value)
}
