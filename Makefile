# ionlab. `make` alone lists the targets; README.md explains them.
#
# Settings, each from the command line or the environment:
#   IMAGE=debian-12   the image that the suites boot
#   PROCS=N           Ginkgo processes at once; each runs its own labs; half of the processors by default, but two where there
#                     are two processors and 6 GB of memory: one boots or waits while the other computes
#   BESIDE=N          suites beside each other, each with PROCS processes; two by default, one on one processor. With three, two
#                     processors have no idle moment left, and specs that time what programs do may fail for it
#   LABELS=...        Ginkgo label filter; left out are specs labelled large (ten machines), exhaustive (all cases of a matrix),
#                     faults (make faults) and soak (make soak)
#   RUSTDESK_DEB=...  RustDesk's package for suites/rustdesk; a stand-in when unset
#   RUSTDESK_SERVER_DEB=HBBS:HBBR  its server's packages, or one with both; a stand-in when unset
#   SUITES=./suites/  which suites (make suites SUITES=./suites/lab/)
#   BENCH_FLAGS=...   of the benchmark of labs (BENCH_FLAGS='-parts warm -nodes 1,4 -rounds 5')
#   GINKGO_FLAGS=...  added to Ginkgo's command line (GINKGO_FLAGS='-v --focus=reboot')
#   LABTEST_ACCEL     kvm or tcg; probed when unset

IMAGE        ?= debian-12
PROCS        ?= $(shell awk -v n=$$(nproc) '/^MemTotal:/ { print (n > 5 ? int(n / 2) : n > 1 && $$2 > 6e6 ? 2 : 1) }' /proc/meminfo)
BESIDE       ?= $(shell awk -v n=$$(nproc) '/^MemTotal:/ { print (n > 1 && $$2 > 12e6 ? 2 : 1) }' /proc/meminfo)
SUITES       ?= ./suites/
SUITES_TIME  ?= 60m
LABELS       ?= !large && !exhaustive && !faults && !soak
OUT          := $(CURDIR)/out

# The binding loads libvirt at run time with this tag, so what has it builds without libvirt's headers.
NO_HEADERS := -tags libvirt_dlopen
GO_TOOL    := go tool -modfile=tools/go.mod

.DEFAULT_GOAL := help
ifeq ($(filter $(OUT)/%,$(MAKECMDGOALS)),)
.NOTPARALLEL: # but for the suites, by a make of their own
endif
.PHONY: help setup build image run test check fmt lint unit suites portal-mutation rustdesk-matrix faults bench soak fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup build image suites ## install what is missing, build the image, run the suites

test: setup check build image suites ## check, then every VM spec: what CI runs

check: lint unit ## format, vet, lint, import directions, unit tests with -race; no VM, no root, no KVM

setup: ## install what is missing (apt; elsewhere the packages are named)
	@scripts/setup

build: ## bin/labtest
	go build -o bin/ ./cmd/labtest

image: build ## build the image that the suites boot, unless the store has it
	bin/labtest image build $(IMAGE)

fmt: ## rewrite the sources as gofumpt has them
	$(GO_TOOL) golangci-lint fmt

lint: ## go vet, golangci-lint with gofumpt, and the build without libvirt's headers
	go build $(NO_HEADERS) ./...
	go vet $(NO_HEADERS) ./...
	$(GO_TOOL) golangci-lint run --allow-parallel-runners

unit: ## unit tests with the race detector (everything but suites/); JUnit in out/unit.xml
	@mkdir -p $(OUT)
	$(GO_TOOL) gotestsum --format pkgname-and-test-fails --junitfile $(OUT)/unit.xml -- \
		-race $(NO_HEADERS) $$(go list $(NO_HEADERS) ./... | grep -v '^ionlab/suites/')
	@! grep -B1 '<skipped' $(OUT)/unit.xml || \
		$(if $(filter test,$(MAKECMDGOALS)),{ echo "unit: skipped tests are no success here (see above)"; false; },true)

# Each suite is run by a Ginkgo of its own, BESIDE of them at once. TIMED ones tell milliseconds apart, or hold programs to their
# timers: one at a time, and all others are nice to it. IDLE ones wait most of their time, and take one process more. In this order
# there is always something beside a timed suite, and beside one that has come to its serial specs, one that has not.
TIMED    := ./suites/network/ ./suites/rustdesk/
IDLE     := ./suites/network/
FIRST    := ./suites/network/ ./suites/faults/ ./suites/lab/ ./suites/rustdesk/ ./suites/portal/
MORE    := $(if $(filter 1,$(PROCS)),1,$(shell expr $(PROCS) + 1))
procs    = $(if $(filter $(IDLE),$(1)),$(MORE),$(PROCS))
FOUND    = $(patsubst suites/%,./suites/%,$(sort $(dir $(foreach dir,$(SUITES:%/=%),$(wildcard $(dir)/*_test.go $(dir)/*/*_test.go)))))
ORDERED  = $(filter $(FOUND),$(FIRST)) $(filter-out $(FIRST),$(FOUND))
TOGETHER = $(if $(filter 1,$(BESIDE) $(words $(FOUND))),,yes)
# What the labs of suites start from is made before the first of them, where several are run as they are: specs that measure, and
# suites that are nice to them, are not to share the processors with machines that boot.
labs.network := nat-matrix cgnat lan wan-two-sites satellite jumbo
labs.rustdesk := $(if $(RUSTDESK_DEB),,rustdesk-lan rustdesk-nat rustdesk-clones rustdesk ionchannel-rustdesk-test)
labs.lab := two-networks workbench single
labs.portal := portal-remote portal portal-desktop
labs.clean := single
labs.faults := single
labs.quickstart := quickstart
PREPARED = $(if $(and $(filter file,$(origin LABELS)),$(if $(findstring focus,$(GINKGO_FLAGS)),,all)),$(sort $(foreach suite,$(FOUND),$(labs.$(notdir $(suite:%/=%))))))

# The report of a suite: ./suites/lab/ has out/suites.lab.json, and out/suites.lab.xml beside it.
report   = $(OUT)/$(subst /,.,$(patsubst ./%,%,$(1:%/=%))).json

# Ginkgo's exit status and the count both decide: a run whose specs were all left out is no success.
suites: ## the VM specs alone; JUnit, JSON and artifacts in out/
	@mkdir -p $(OUT)
	@rm -rf $(OUT)/suites.* $(OUT)/artifacts
	@$(if $(FOUND),,echo "suites: no suite in $(SUITES)"; exit 2)
	@echo "suites: labels '$(LABELS)'$(if $(RUSTDESK_DEB),, (RustDesk: a stand-in))$(if $(RUSTDESK_SERVER_DEB),, (its server: a stand-in))"
	-@$(if $(and $(TOGETHER),$(PREPARED)),go run ./cmd/labtest prepare --artifacts "$${LABTEST_ARTIFACTS:-$(OUT)/artifacts}" $(PREPARED:%=topologies/%.yaml))
	@$(if $(TOGETHER),echo "suites: $(BESIDE) of $(words $(FOUND)) at once; what one has to say comes when it ends")
	@status=0; trap : INT; exec 3>&1; \
	export LABTEST_ARTIFACTS=$${LABTEST_ARTIFACTS:-$(OUT)/artifacts}; \
	$(MAKE_COMMAND) --no-print-directory --keep-going --jobs=$(BESIDE) $(if $(TOGETHER),--output-sync) \
		$(foreach suite,$(ORDERED),$(call report,$(suite))) || status=$$?; \
	go run ./scripts/tally $(OUT)/suites.json $(foreach suite,$(ORDERED),$(call report,$(suite))) || status=1; \
	echo "report: $(OUT)/suites.xml, $(OUT)/suites.json; artifacts of failed specs: $$LABTEST_ARTIFACTS"; \
	exit $$status

# What has begun and ended is told at once, on descriptor 3; all else where make lets one suite speak at a time.
define run_suite
.PHONY: $(call report,$(1))
$(call report,$(1)):
	@trap : INT; color=; [ -t 1 ] || color=--no-color; began=$$$$(date +%s); status=0; \
	$(if $(TOGETHER),echo "suites: $(1) begins" >&3;) \
	$(if $(and $(TOGETHER),$(filter $(TIMED),$(1))),exec 9>$(OUT)/suites.timed; flock 9;) \
	$(if $(and $(TOGETHER),$(filter-out $(TIMED),$(1))),nice -n 19) go tool ginkgo run --procs=$(call procs,$(1)) --randomize-all --keep-going --fail-on-pending \
		--timeout=$(SUITES_TIME) --poll-progress-after=2m --label-filter='$$(LABELS)' \
		--output-dir=$(OUT) --junit-report=$(basename $(notdir $(call report,$(1)))).xml --json-report=$(notdir $(call report,$(1))) \
		$$$$color $$(GINKGO_FLAGS) $(1) 3>&- 9>&- || status=$$$$?; \
	$(if $(TOGETHER),echo "suites: $(1) $$$$([ $$$$status = 0 ] && echo passed || echo failed) after $$$$(($$$$(date +%s) - began)) s" >&3;) \
	exit $$$$status
endef
$(foreach suite,$(FOUND),$(eval $(call run_suite,$(suite))))

portal-mutation: ## each defect of the reference backend, and the checks that it makes fail: the whole table; `make unit` has a sample
	PORTAL_MUTATION=all go test $(NO_HEADERS) -count=1 -timeout 60m -run TestMutation -v ./fixtures/portal/checks/

rustdesk-matrix: ## every case of suites/rustdesk: all pairs of NATs, with and without relay and UDP, and the worst lines
	@$(MAKE) --no-print-directory suites SUITES=./suites/rustdesk/ LABELS='nat || exhaustive'

faults: ## a hundred owners killed in every phase, and every kind of damage: half an hour and more
	$(MAKE) suites SUITES=./suites/faults/ LABELS=faults

bench: ## the side-by-side benchmarks, half an hour of a quiet machine; out/bench/*.json and *.md
	go run ./bench/lab -out $(OUT)/bench $(BENCH_FLAGS)
	cd bench/fabric && go run . -out $(OUT)/bench

soak: ## two hundred reverts in a row, ten minutes and more
	$(MAKE) suites SUITES=./suites/lab/ LABELS=soak

FUZZ_TIME ?= 30s
fuzz: ## every fuzzer for FUZZ_TIME
	@set -e; for package in $$(go list $(NO_HEADERS) ./internal/... ./fixtures/...); do \
		for target in $$(go test $(NO_HEADERS) -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			go test $(NO_HEADERS) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ_TIME) $$package; \
		done; \
	done

clean: ## remove bin/ and out/; images and snapshots stay (bin/labtest image rm, bin/labtest gc)
	rm -rf bin out
