// Package labtest lets Ginkgo specs work with real virtual machines.
//
// A topology file describes machines and the networks between them; Start brings them up and takes them down again
// with the scope it was called in. Operations on a Node return a result and an error, so they go straight into
// Expect and Eventually, with the matchers of package matchers:
//
//	var lab *labtest.Lab
//
//	var _ = BeforeSuite(func(ctx SpecContext) {
//		lab = labtest.Start(ctx, "../../topologies/quickstart.yaml")
//	}, NodeTimeout(20*time.Minute))
//
//	var _ = It("knows its neighbour by name", func(ctx SpecContext) {
//		alice := lab.Node("alice")
//		Expect(alice.Exec(ctx, "ping", "-c", "1", "bob")).To(ExitWith(0))
//		Eventually(ctx, alice.Exec).WithArguments("systemctl", "is-active", "ssh").
//			Within(30 * time.Second).Should(ExitWith(0))
//	})
//
// # Damage to the network
//
// Impairments, links that are down, partitions, schedules and changes of a router's NAT are in force from the next frame
// on, for any guest, and never in the way of commands and files:
//
//	Expect(lab.Network("wan").Impair(ctx, labtest.Impairment{Delay: 50 * time.Millisecond, Loss: 1})).To(Succeed())
//	Expect(lab.Partition(ctx, []string{"alice"}, []string{"bob"})).To(Succeed())
//
// All of it is brought back by itself, by the rules of ginkgo.DeferCleanup: what an It or a BeforeEach changes at the end
// of the spec, what a BeforeAll changes at the end of its container, what a BeforeSuite changes at the end of the suite.
// What is changed where Ginkgo cleans up, or outside of Ginkgo's nodes, stays.
//
// # When something fails
//
// A fixture (Start) fails the spec; everything else returns an error. The error of an operation on a machine that died
// unasked stops an Eventually at once and shows the last lines of its console. When a spec fails, the state of every
// living lab is written into a folder of its own before anything is cleaned up: consoles, journals, cloud-init's logs,
// domain XML, the transcript of every operation, and the command that runs the spec again. LABTEST_ARTIFACTS says
// where; the report names the folder.
//
// # Environment
//
//	LABTEST_ACCEL                 kvm or tcg; probed when unset
//	LABTEST_ARTIFACTS             folder for evidence; labtest-artifacts in the suite's folder when unset
//	LABTEST_CATALOG               the user's own image catalog
//	LABTEST_SEED                  where the randomness of impairments begins; see Lab.Seed
//	LABTEST_CACHE_DIR, LABTEST_STATE_DIR, LABTEST_RUN_DIR
//	                              images and snapshots; disks of running labs; sockets of running labs
//	LABTEST_WARM                  off: no lab starts from a snapshot, and none leaves one
package labtest
