package matchers_test

import (
	"fmt"

	"github.com/onsi/gomega"

	. "ionlab/matchers"
)

func Example() {
	expect := gomega.NewGomega(func(message string, _ ...int) { fmt.Println(message) }).Expect

	res := &result{command: "rustdesk --get-id", stdout: "123456789\n"}
	expect(res).To(gomega.And(ExitWith(0), OutputMatching(`^\d{9}\n$`)))

	res = &result{command: "cat /etc/shadow", code: 1, stderr: "cat: /etc/shadow: Permission denied\n"}
	expect(res).To(ErrorOutputContaining("Permission denied"))
	expect(res).To(ExitWith(0))
	// Output:
	// Expected command
	//     cat /etc/shadow
	// to exit with 0, but it exited with 1
	// stdout is empty
	// stderr:
	//     cat: /etc/shadow: Permission denied
}
