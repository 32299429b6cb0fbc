package topology

// field is one value of a topology file with its place.
type field[T any] struct {
	value T
	at    mark
	// given tells whether the file says it.
	given bool
	// bad tells that a problem with it is already reported, so that later steps leave it alone.
	bad bool
}

// orDefault fills in what the file does not say.
func (f *field[T]) orDefault(value T) {
	if !f.given && !f.bad {
		f.value = value
	}
}

// usable tells whether the file gives a value that no step has found fault with.
func (f field[T]) usable() bool { return f.given && !f.bad }

// complaint says what is wrong with a value and what would be right.
type complaint struct{ wrong, right string }

// convert turns the text of a field into another type and reports what conversion complains of.
func convert[From, To any](r *report, f field[From], conversion func(From) (To, *complaint)) field[To] {
	out := field[To]{at: f.at, given: f.given, bad: f.bad}
	if !f.usable() {
		return out
	}
	value, c := conversion(f.value)
	if c != nil {
		r.add(f.at, *c)
		out.bad = true
		return out
	}
	out.value = value
	return out
}

// check applies a rule to a field that the file gives and marks the field when the rule complains.
func check[T any](r *report, f *field[T], rule func(T) *complaint) {
	if !f.usable() {
		return
	}
	if c := rule(f.value); c != nil {
		r.reject(f, *c)
	}
}
