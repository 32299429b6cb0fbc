package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ionlab/internal/guest"
	"ionlab/internal/seed"
)

// wakeProgram puts a restored guest right in one process, because each costs 50 ms and more under emulation. Its argument
// is by how many seconds and nanoseconds the clock is behind: a difference, so that it does not matter how long the
// command is on its way. It gives the kernel 64 bytes of the host's entropy and has its random source start anew from
// them, in one step: RNDADDENTROPY is 0x40085203, RNDRESEEDCRNG 0x5207 (include/uapi/linux/random.h; random(4)). Writing to /dev/urandom
// alone has no effect before the next reseeding, up to a minute later. clock_gettime(2) and clock_settime(2) are
// numbers 228 and 227 on x86_64. It prints the nonce of the boot, the clock, and 16 bytes of the random source.
const wakeProgram = `my($js,$jn)=@ARGV; my $t="\0"x16;
sub now { syscall(228,0,$t)==0 or die "clock_gettime: $!"; unpack("q2",$t) }
my($s,$n)=now(); $s+=$js; $n+=$jn; if($n>=1e9){$n-=1e9;$s++}
$t=pack("q2",$s,$n); syscall(227,0,$t)==0 or die "clock_settime: $!";
binmode STDIN; read(STDIN,my $e,64)==64 or die "no entropy came";
open(my $r,"+<","/dev/urandom") or die "urandom: $!";
ioctl($r,0x40085203,pack("i2a64",512,64,$e)) or die "RNDADDENTROPY: $!";
ioctl($r,0x5207,0) or die "RNDRESEEDCRNG: $!";
sysread($r,my $d,16)==16 or die "urandom: $!";
open(my $f,"<","` + seed.NoncePath + `") or die "nonce: $!"; my $nonce=<$f>; chomp $nonce;
($s,$n)=now(); printf("%s %d.%09d %s\n",$nonce,$s,$n,unpack("H*",$d));`

// wakeProgramPython does the same where there is no perl. Guests with cloud-init have one of the two.
const wakeProgramPython = `import fcntl,struct,sys,time
t=time.clock_gettime_ns(time.CLOCK_REALTIME)+int(sys.argv[1])*10**9+int(sys.argv[2]); time.clock_settime_ns(time.CLOCK_REALTIME,t)
e=sys.stdin.buffer.read(64); assert len(e)==64, "no entropy came"
r=open("/dev/urandom","r+b",0); fcntl.ioctl(r,0x40085203,struct.pack("ii64s",512,64,e)); fcntl.ioctl(r,0x5207,0)
d=r.read(16).hex(); nonce=open("` + seed.NoncePath + `").readline().strip(); t=time.clock_gettime_ns(time.CLOCK_REALTIME)
print("%s %d.%09d %s" % (nonce,t//10**9,t%10**9,d))`

// notFound is the exit status of a program that is not there.
const notFound = 127

// wake puts the restored guest right, and refuses one that is not as it should be. On a busy host the instants of pause
// and resume are known only roughly; what is then wrong with the clock shows in the answer, and is put right in turn.
func (n *Node) wake(ctx context.Context, l *life, behind time.Duration) error {
	var err error
	for range 3 {
		var state wakeState
		sent := time.Now()
		if state, err = n.wakeOnce(ctx, l, behind); err != nil {
			return err
		}
		got := time.Now()
		if err = checkClock(state.clock, sent, got); err == nil {
			return nil
		}
		behind = sent.Add(got.Sub(sent) / 2).Sub(state.clock)
	}
	return err
}

func (n *Node) wakeOnce(ctx context.Context, l *life, behind time.Duration) (wakeState, error) {
	var entropy [64]byte
	if _, err := rand.Read(entropy[:]); err != nil {
		return wakeState{}, fmt.Errorf("draw entropy for the guest: %w", err)
	}
	var res *guest.Result
	for _, argv := range [][]string{wakePerl(wakeProgram, behind), wakePython(wakeProgramPython, behind)} {
		var err error
		if res, err = l.guest.Run(ctx, guest.Cmd{Argv: argv, Stdin: bytes.NewReader(entropy[:])}); err != nil {
			return wakeState{}, err
		}
		if res.ExitCode() != notFound {
			break
		}
	}
	if res.ExitCode() != 0 {
		return wakeState{}, fmt.Errorf("set its clock and random source: exit status %d: %s", res.ExitCode(), strings.TrimSpace(res.Stderr()))
	}
	state, err := parseWake(res.Stdout())
	switch {
	case err != nil:
		return state, err
	case state.nonce != n.uuid:
		return state, fmt.Errorf("%w: the nonce of its boot is %q instead of %q", errNotTheSame, state.nonce, n.uuid)
	case !n.draws.fresh(state.random):
		return state, errors.New("its random source repeats what it gave after an earlier restore")
	}
	return state, nil
}

// wakePerl runs a program of perl's; without "--" it would take the seconds of a clock that is ahead for a switch.
func wakePerl(program string, behind time.Duration) []string {
	return append([]string{"perl", "-e", program, "--"}, wakeArgs(behind)...)
}

// wakePython runs a program of python's, which takes all that follows for arguments.
func wakePython(program string, behind time.Duration) []string {
	return append([]string{"python3", "-c", program}, wakeArgs(behind)...)
}

// wakeArgs are seconds and nanoseconds. The nanoseconds count forward, also for a clock that is ahead.
func wakeArgs(behind time.Duration) []string {
	seconds := int64(behind / time.Second)
	nanos := int64(behind % time.Second)
	if nanos < 0 {
		seconds, nanos = seconds-1, nanos+int64(time.Second)
	}
	return []string{strconv.FormatInt(seconds, 10), strconv.FormatInt(nanos, 10)}
}

// draws are the random numbers that a node gave after its last restores.
type draws struct {
	mu   sync.Mutex
	last []string
}

// fresh remembers a draw, and tells whether it is a new one.
func (d *draws) fresh(draw string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Contains(d.last, draw) {
		return false
	}
	if len(d.last) == 100 {
		d.last = d.last[1:]
	}
	d.last = append(d.last, draw)
	return true
}

// clockTolerance is how wrong a guest's clock may be beyond the time its answer took.
const clockTolerance = time.Second

// checkClock refuses a clock that was not between sent and got, when the guest read it.
func checkClock(clock, sent, got time.Time) error {
	if clock.Before(sent.Add(-clockTolerance)) || clock.After(got.Add(clockTolerance)) {
		return fmt.Errorf("its clock says %s, where the host's says %s to %s", clock.UTC().Format(time.RFC3339Nano),
			sent.UTC().Format(time.RFC3339Nano), got.UTC().Format(time.RFC3339Nano))
	}
	return nil
}

// wakeState is what a restored guest says of itself.
type wakeState struct {
	nonce  string
	clock  time.Time
	random string
}

func parseWake(text string) (wakeState, error) {
	fields := strings.Fields(text)
	if len(fields) != 3 || len(fields[2]) != 32 {
		return wakeState{}, fmt.Errorf("the restored guest answers %q", text)
	}
	clock, err := parseClock(fields[1])
	return wakeState{nonce: fields[0], clock: clock, random: fields[2]}, err
}

// parseClock reads seconds since 1970 with nine decimals, as date +%s.%N prints them.
func parseClock(text string) (time.Time, error) {
	seconds, nanos, _ := strings.Cut(strings.TrimSpace(text), ".")
	s, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the guest's clock %q: %w", text, err)
	}
	ns, err := strconv.ParseInt(nanos, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the guest's clock %q: %w", text, err)
	}
	return time.Unix(s, ns), nil
}

// measureLag is by how much the guest's clock is behind the host's: the best of some tries, good to half the time that
// the answer took.
func (n *Node) measureLag(ctx context.Context, l *life) (lag time.Duration, err error) {
	best := time.Duration(-1)
	for range 3 {
		sent := time.Now()
		res, err := l.guest.Run(ctx, guest.Cmd{Argv: []string{"date", "+%s.%N"}})
		if err != nil {
			return 0, err
		}
		clock, err := parseClock(res.Stdout())
		if err != nil {
			return 0, err
		}
		if took := time.Since(sent); best < 0 || took < best {
			best, lag = took, sent.Add(took/2).Sub(clock)
		}
	}
	return lag, nil
}
