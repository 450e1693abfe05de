# Builds with PGXS; assembles the SQL; runs the tests.  The version is in payments.control only.
EXTENSION = payments
MODULE_big = payments
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" payments.control)

OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
DATA_built = sql/payments--$(EXTVERSION).sql
DOCS = $(wildcard docs/*.md)

TEST_OUTPUT = test/output
# The first makes the tables that the others use.
REGRESS = setup $(filter-out setup,$(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql))))
REGRESS_OPTS = --inputdir=test --outputdir=$(TEST_OUTPUT) --load-extension=payments
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --outputdir=$(TEST_OUTPUT) --load-extension=payments

PG_CPPFLAGS = -I$(srcdir)/src $(shell xml2-config --cflags 2> /dev/null) -DPAY_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Werror=implicit-function-declaration \
	-Werror=vla -Werror=switch -fvisibility=hidden
SHLIB_LINK = -lcurl -lxml2
EXTRA_CLEAN = sql/payments--$(EXTVERSION).sql test/output test/unit/build test/fuzz/build

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
# make demo and make test must work before the packages are there: they install them.
ifeq ($(wildcard $(PGXS)),)
all install installcheck clean:
	@echo "$(PG_CONFIG) knows of no PGXS: install postgresql-server-dev of your version, or set PG_CONFIG" >&2; exit 1
else
include $(PGXS)
endif

$(OBJS): $(wildcard src/*.h src/*/*.h) payments.control

include sql/contents.mk
SQL_FILES = $(addprefix sql/,$(SQL_SEEDS) core/setup.head $(SQL_TABLES) core/setup.tail $(SQL_CODE))

sql/payments--$(EXTVERSION).sql: $(SQL_FILES) sql/contents.mk payments.control
	cat $(SQL_FILES) > $@.tmp
	mv $@.tmp $@

include test/test.mk
