/*
 * src/payment/health.c
 *		How a PSP is, for whoever chooses among several.
 */
#include "payments.h"

#include "payment/health.h"

#include "core/cache.h"
#include "core/spi.h"
#include "payment/health_board.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define NAME_BYTES 64
#define PROBE_MS 1000

/* Its rows. */
typedef struct PayHealthEntry
{
	char		psp[NAME_BYTES];
	bool		exists;
	bool		halted;
	bool		unfit;
	TimestampTz paused_until;	/* DT_NOEND: until somebody ends it */
	PayVitals	vitals;			/* without a pulse */
} PayHealthEntry;

static PayCache rows = {
	.name = "payments health",
	.key_bytes = NAME_BYTES,
	.entry_bytes = sizeof(PayHealthEntry),
	.tables = {"psp", "psp_health"},
};

static void find_rows(const char *psp, PayHealthEntry *entry);
static void read_rows(PayHealthEntry *entry);
static TimestampTz time_at(int column);
static void judge(PayHealth *health, const PayHealthEntry *entry, const PayVitals *vitals, TimestampTz now);

PAY_FUNCTION(pay_health_of);

static PayStmt read_health = PAY_STMT(SPI_OK_SELECT,
	"SELECT s.halted_at IS NOT NULL, h.problem IS NOT NULL, "
	" CASE WHEN s.paused_at IS NOT NULL THEN coalesce(s.paused_until, 'infinity') END, "
	" h.silent_until, h.paused_until, (h.calls_per_second * 1000)::bigint, h.noted_at "
	"FROM payments.psp s LEFT JOIN payments.psp_health h ON h.psp = s.psp WHERE s.psp = $1", TEXTOID);

void
pay_health_find(const char *psp, PayHealth *health)
{
	PayHealthEntry entry;
	PayVitals	vitals;

	find_rows(psp, &entry);
	if (!pay_health_board_read(psp, &vitals))
		vitals = entry.vitals;
	memset(health, 0, sizeof(PayHealth));
	judge(health, &entry, &vitals, GetCurrentTimestamp());
}

bool
pay_health_probe(const char *psp)
{
	return pay_health_board_probe(psp, PROBE_MS);
}

static void
find_rows(const char *psp, PayHealthEntry *entry)
{
	PayHealthEntry *cached;
	char		key[NAME_BYTES] = {0};

	memset(entry, 0, sizeof(PayHealthEntry));
	if (strlen(psp) >= NAME_BYTES)
		return;
	strlcpy(key, psp, NAME_BYTES);
	cached = pay_cache_find(&rows, key);
	if (cached)
	{
		*entry = *cached;
		return;
	}
	memcpy(entry->psp, key, NAME_BYTES);
	read_rows(entry);
	if (entry->exists && (cached = pay_cache_add(&rows, key)) != NULL)
		*cached = *entry;
}

static void
read_rows(PayHealthEntry *entry)
{
	PayArgs		args = {0};

	pay_arg_text(&args, entry->psp);
	entry->exists = pay_spi_exec(&read_health, &args) == 1;
	if (!entry->exists)
		return;
	entry->halted = pay_spi_bool(0, 1);
	entry->unfit = pay_spi_bool(0, 2);
	entry->paused_until = time_at(3);
	entry->vitals.silent_until = time_at(4);
	entry->vitals.held_until = time_at(5);
	entry->vitals.rate = pay_spi_isnull(0, 6) ? 0 : (double) pay_spi_int64(0, 6) / 1000;
	entry->vitals.noted_at = time_at(7);
}

static TimestampTz
time_at(int column)
{
	return pay_spi_isnull(0, column) ? 0 : pay_spi_time(0, column);
}

static void
judge(PayHealth *health, const PayHealthEntry *entry, const PayVitals *vitals, TimestampTz now)
{
	health->rate = vitals->rate;
	health->calls = vitals->pulse.calls;
	health->failures = pay_pulse_failures(&vitals->pulse);
	if (!entry->exists)
		health->state = PAY_HEALTH_UNKNOWN;
	else if (entry->halted)
		health->state = PAY_HEALTH_HALTED;
	else if (entry->paused_until > now)
	{
		health->state = PAY_HEALTH_PAUSED;
		health->until = entry->paused_until == DT_NOEND ? 0 : entry->paused_until;
	}
	else if (entry->unfit)
		health->state = PAY_HEALTH_UNFIT;
	else if (Max(vitals->silent_until, vitals->held_until) > now)
	{
		health->state = PAY_HEALTH_SILENT;
		health->until = Max(vitals->silent_until, vitals->held_until);
	}
	else if (vitals->silent_until != 0)
		health->state = PAY_HEALTH_HALF_OPEN;
	else if (vitals->rate > 0)
		health->state = PAY_HEALTH_SLOWED;
}

const char *
pay_health_state_name(PayHealthState state)
{
	static const char *const names[] = {
		[PAY_HEALTH_GOOD] = "good", [PAY_HEALTH_SLOWED] = "slowed", [PAY_HEALTH_HALF_OPEN] = "half_open",
		[PAY_HEALTH_SILENT] = "silent", [PAY_HEALTH_UNFIT] = "unfit", [PAY_HEALTH_PAUSED] = "paused",
		[PAY_HEALTH_HALTED] = "halted", [PAY_HEALTH_UNKNOWN] = "unknown",
	};

	return names[state];
}

/* _health_of(psp) */
Datum
pay_health_of(PG_FUNCTION_ARGS)
{
	char	   *psp = text_to_cstring(PG_GETARG_TEXT_PP(0));
	PayHealth	health;
	PayVitals	v = {0};
	bool		known = pay_health_board_read(psp, &v);
	TupleDesc	desc;
	Datum		values[9];
	bool		nulls[9] = {false};

	pay_spi_begin();
	pay_health_find(psp, &health);
	pay_spi_end();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(pay_health_state_name(health.state));
	values[1] = TimestampTzGetDatum(health.until);
	nulls[1] = health.until == 0;
	values[2] = Int32GetDatum(v.window);
	nulls[2] = !known;
	values[3] = Int32GetDatum(health.calls);
	values[4] = Int32GetDatum(health.failures);
	nulls[3] = nulls[4] = health.calls == 0;
	values[5] = Int32GetDatum(pay_pulse_quantile(&v.pulse, 0.5));
	values[6] = Int32GetDatum(pay_pulse_quantile(&v.pulse, 0.99));
	nulls[5] = nulls[6] = v.pulse.timed == 0;
	values[7] = TimestampTzGetDatum(v.failed_at);
	values[8] = CStringGetTextDatum(v.failure);
	nulls[7] = nulls[8] = v.failed_at == 0;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
