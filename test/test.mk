# The tests and measurements that bring their own server.  For one that runs
# already there is `make installcheck`, as PGXS makes it.

FUZZ_SECONDS = $(if $(filter command%,$(origin SECONDS)),$(SECONDS),300)

# Everything; ends with "N passed, N failed".
test:
	@bash test/test.sh

# The faults with 400 payments instead of a slice.
test-long:
	@PAY_FAULT_PAYMENTS=400 bash test/test.sh build faults

# make fuzz SECONDS=300: so long for each target.
fuzz:
	@PAY_FUZZ_SECONDS=$(FUZZ_SECONDS) bash test/test.sh fuzz

bench:
	@bash test/bench/run.sh

# Real payments on throwaway data, as tables; KEEP=1 keeps server and PSP running.
demo:
	@bash test/demo.sh $(DEMO_ARGS)

# The diagram and table in it, from the transition table; ci/states checks that they are up to date.
docs/states.md:
	@ci/states --write

.PHONY: test test-long fuzz bench demo docs/states.md
