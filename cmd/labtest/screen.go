package main

import (
	"fmt"
	"strings"
)

// redraw shows what runs, with the time it has taken so far.
func (p *progress) redraw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draw()
}

// draw replaces the updating lines. Its caller holds the lock.
func (p *progress) draw() {
	if p.size == nil || p.closed {
		return
	}
	p.erase()
	columns := p.size()
	var out strings.Builder
	for _, s := range p.running {
		text := fmt.Sprintf("%-10s %s", s.who, s.text())
		out.WriteString(fit(text, "  "+elapsed(p.now().Sub(s.began)), columns-1) + "\n")
	}
	fmt.Fprint(p.out, out.String())
	p.drawn = len(p.running)
}

// erase takes the updating lines from the screen (ECMA-48: CPL 8.3.13, ED 8.3.39).
func (p *progress) erase() {
	if p.drawn > 0 {
		fmt.Fprintf(p.out, "\x1b[%dF\x1b[J", p.drawn)
		p.drawn = 0
	}
}

// fit cuts text so that it and end take one line: a line that wraps could not be erased. What a terminal would obey is
// taken out.
func fit(text, end string, columns int) string {
	runes := make([]rune, 0, len(text))
	for _, r := range text {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			r = ' '
		}
		runes = append(runes, r)
	}
	if room := columns - len([]rune(end)); len(runes) > room {
		runes = append(runes[:max(room-3, 0)], []rune("...")...)
	}
	return string(runes) + end
}
