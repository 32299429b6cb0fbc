package portal_test

import (
	"fmt"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"ionlab/fixtures/portal/checks"
)

// judge asserts that a check has passed, or, where it is a known gap, that it has failed.
func judge(p checks.Profile, key string, err error) {
	GinkgoHelper()
	gap := p.Gap(key)
	if gap == nil {
		Expect(err).NotTo(HaveOccurred(), "%s", p.Product)
		return
	}
	Expect(err).To(HaveOccurred(), "the known gap %s is closed: %s. Remove it from the profile", key, gap.Reason)
	Expect(err).To(BeAssignableToTypeOf(checks.Failure("")), "the check %s could not be made, which is no known gap", key)
	AddReportEntry("known gap "+key, fmt.Sprintf("%s %s\n%s", gap.Reason, gap.Link, err))
}

// asKnown runs what a spec asserts, and judges it.
func asKnown(p checks.Profile, key string, body func()) {
	GinkgoHelper()
	Expect(slices.Contains(checks.Elsewhere(), key)).To(BeTrue(), "checks.Elsewhere has no %s, so no profile could have it as a gap", key)
	if p.Gap(key) == nil {
		body()
		return
	}
	var failed error
	if err := InterceptGomegaFailure(body); err != nil {
		failed = checks.Failure(err.Error())
	}
	judge(p, key, failed)
}
