# The tests and measurements that bring their own server.  For one that runs
# already there is `make installcheck`, as PGXS makes it.

FUZZ_SECONDS = $(if $(filter command%,$(origin SECONDS)),$(SECONDS),300)

# Everything; ends with "N passed, N failed".  make test KIND=tap, make test ONLY=feeds, or both; KEEP=1 keeps the
# staging for the next run: see test/README.md.
test:
	@bash test/run

# The faults with 400 payments, the attack on limited accounts for a minute, every order of events, a hundred thousand
# chains of random DDL, every way to restore, instead of slices.
test-long:
	@PAY_FAULT_PAYMENTS=400 PAY_ATTACK_SECONDS=60 PAY_EVENT_ORDERS=all PAY_DDL_STATEMENTS=100000 PAY_RESTORES=all \
		bash test/run tap,pgtap faults ledger_attack event_orders ddl_fuzz dump_and_restore

# make test-model OPS=1000000 SEED=42: random operations on the ledger against a model; default a million, a new seed.
test-model:
	@PAY_MODEL_OPS='$(or $(OPS),1000000)' PAY_MODEL_SEED='$(SEED)' bash test/run model

# make fuzz SECONDS=300: so long for each target.
fuzz:
	@PAY_FUZZ_SECONDS=$(FUZZ_SECONDS) bash test/run fuzz

bench:
	@bash test/bench/run.sh

# Which lines of the C code the tests run, as pages in test/output/coverage; those where money is decided must be run,
# or be named in test/not_covered.  make coverage KIND=pgtap STAGE=FOLDER counts on from what was counted there.
coverage:
	@bash test/coverage

# All that has a server once more, with AddressSanitizer and UndefinedBehaviorSanitizer.
sanitize:
	@bash test/sanitize

# Real payments on throwaway data, as tables; KEEP=1 keeps server and PSP running.
demo:
	@bash test/demo.sh $(DEMO_ARGS)

# What depends on the server, on the versions that this machine has not: make test-versions VERSIONS='17 18'; CLEAN=1 removes their chroots.
test-versions:
	@bash test/versions $(if $(CLEAN),--clean) $(VERSIONS)

# The diagram and table in it, from the transition table; ci/states checks that they are up to date.
docs/states.md:
	@ci/states --write

.PHONY: test test-long test-model fuzz bench coverage sanitize demo test-versions docs/states.md
