package topology

import "time"

// Preset is a named kind of link.
type Preset struct {
	Name string
	// Impairment holds for each direction of a link.
	Impairment Impairment
}

// Presets returns the kinds of links that a topology can name, from the best to the worst. The figures are
// benchScale's: those of its YAML file where that has the name, else those of its code. A preset says all about delay,
// jitter, loss and rate, and nothing about reordering, duplication and corruption.
func Presets() []Preset {
	return []Preset{
		preset("localhost", 0, 0, 0, 0),
		preset("basement_lan", 0.5, 0.1, 0, 10_000_000),
		preset("home_lan", 2, 1, 0.01, 1_000_000),
		preset("campus", 5, 0, 0.01, 500_000),
		preset("broadband", 20, 0, 0.1, 100_000),
		preset("friend_wan", 50, 10, 0.5, 100_000),
		preset("cellular", 100, 0, 2, 50_000),
		preset("mobile_cell", 100, 30, 2, 10_000),
		preset("urban_congested", 150, 80, 15, 2_000),
		preset("satellite", 600, 50, 5, 5_000),
		preset("intermittent", 500, 300, 50, 500),
		preset("deep_space", 2000, 200, 10, 1_000),
	}
}

func preset(name string, latencyMS, jitterMS, lossPercent, kbps float64) Preset {
	return Preset{Name: name, Impairment: Impairment{
		Delay: milliseconds(latencyMS), Jitter: milliseconds(jitterMS), LossPercent: lossPercent, RateKbps: kbps,
	}}
}

func findPreset(name string) (Impairment, *complaint) {
	var names []string
	for _, p := range Presets() {
		if p.Name == name {
			return p.Impairment, nil
		}
		names = append(names, p.Name)
	}
	return Impairment{}, &complaint{quote(name) + " is not a preset", didYouMean(name, names)}
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
