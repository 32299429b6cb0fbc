package topology

import "fmt"

// rawBursts is packet_loss_bursts as the file has it.
type rawBursts struct {
	at                        mark
	given, bad                bool
	enter, leave, good, lossy field[float64]
}

var burstKeys = keySet{
	what:  "packet_loss_bursts",
	known: []string{"enter_percent", "leave_percent", "good_percent", "bad_percent"},
	refused: map[string]string{
		"p":                   "write enter_percent: how likely a burst begins at a frame",
		"r":                   "write leave_percent: how likely a burst ends at a frame",
		"k":                   "write good_percent: the loss outside of bursts, 100 less k",
		"h":                   "write bad_percent: the loss in a burst, 100 less h",
		"packet_loss_percent": "write bad_percent for the loss in a burst, good_percent for that outside of it",
	},
}

func parseBursts(r *report, v value) rawBursts {
	m := r.mapping(v, burstKeys)
	return rawBursts{
		at:    v.keyAt,
		given: v.node != nil,
		bad:   !m.usable,
		enter: r.number(m.need(r, "enter_percent", "enter_percent: 1"), "percent"),
		leave: r.number(m.need(r, "leave_percent", "leave_percent: 20"), "percent"),
		good:  r.number(m.get("good_percent"), "percent"),
		lossy: r.number(m.get("bad_percent"), "percent"),
	}
}

func validateBursts(r *report, b *rawBursts) {
	check(r, &b.enter, aboveZero("enter_percent", "0 would never begin a burst; write packet_loss_percent for loss without bursts"))
	check(r, &b.leave, aboveZero("leave_percent", "0 would never end a burst; write packet_loss_percent: 100 for a dead link"))
	check(r, &b.good, between("good_percent", 0, 100, "percent"))
	check(r, &b.lossy, between("bad_percent", 0, 100, "percent"))
	if b.lossy.usable() && b.lossy.value == 0 && !b.good.bad && b.good.value == 0 {
		r.reject(&b.lossy, complaint{"nothing is lost in either state", "leave bad_percent out for 100, or write a number above 0"})
	}
	b.bad = b.bad || b.enter.bad || b.leave.bad || b.good.bad || b.lossy.bad
}

// aboveZero returns a rule for a percentage that may not be 0.
func aboveZero(name, zero string) func(float64) *complaint {
	return func(v float64) *complaint {
		if v > 0 && v <= 100 {
			return nil
		}
		return &complaint{
			formatNumber(v) + " is out of range", fmt.Sprintf("%s is above 0 and up to 100 percent: %s", name, zero),
		}
	}
}

// plan returns the model; without bad_percent everything is lost in a burst.
func (b rawBursts) plan() GilbertElliott {
	b.lossy.orDefault(100)
	return GilbertElliott{
		EnterPercent: b.enter.value, LeavePercent: b.leave.value,
		LossGoodPercent: b.good.value, LossBadPercent: b.lossy.value,
	}
}
