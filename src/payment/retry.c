/*
 * src/payment/retry.c
 *		Decline rules and retry schedules: rows, looked up when something went wrong.
 */
#include "payments.h"

#include "payment/retry.h"
#include "core/spi.h"

#include "common/pg_prng.h"
#include "utils/timestamp.h"

static PayStmt find_rule = PAY_STMT(SPI_OK_SELECT,
	"SELECT class, schedule FROM payments.decline_rule WHERE adapter = $1 AND code = ANY ($2) "
	"ORDER BY array_position($2, code), builtin LIMIT 1", TEXTOID, TEXTARRAYOID);

/* The best set is the one for this PSP, then the user's, then ours; a set is taken whole. */
static PayStmt find_delay = PAY_STMT(SPI_OK_SELECT,
	"SELECT (extract(epoch FROM s.delay) * 1000)::bigint, s.jitter FROM payments.retry_schedule s "
	"WHERE s.schedule = $1 AND s.try = $3 AND (s.psp, s.builtin) = "
	" (SELECT b.psp, b.builtin FROM payments.retry_schedule b WHERE b.schedule = $1 AND b.psp IN ($2, '*') "
	"  ORDER BY b.psp = '*', b.builtin LIMIT 1)", TEXTOID, TEXTOID, INT4OID);

bool
pay_decline_rule(const char *adapter, const char *const *codes, PayDeclineRule *rule)
{
	PayArgs		args = {0};
	int			n = 0;
	char	   *class;

	while (n < PAY_CODES_MAX && codes[n] != NULL)
		n++;
	if (n == 0)
		return false;
	pay_arg_text(&args, adapter);
	pay_arg_text_array(&args, codes, n);
	if (pay_spi_exec(&find_rule, &args) == 0)
		return false;
	class = pay_spi_text(0, 1);
	if (!pay_class_parse(class, &rule->class))
		elog(ERROR, "decline rule has class \"%s\"", class);
	rule->schedule = pay_spi_text(0, 2);
	return true;
}

bool
pay_retry_next(const char *schedule, const char *psp, int try, int not_before_ms,
			   TimestampTz now, TimestampTz *due_at)
{
	PayArgs		args = {0};
	int64		delay_ms;

	pay_arg_text(&args, schedule);
	pay_arg_text(&args, psp);
	pay_arg_int32(&args, try);
	if (pay_spi_exec(&find_delay, &args) == 0)
		return false;
	delay_ms = pay_spi_int64(0, 1);
	if (pay_spi_bool(0, 2) && delay_ms > 0)
		delay_ms = (int64) pg_prng_uint64_range(&pg_global_prng_state, 0, (uint64) delay_ms);
	if (delay_ms < not_before_ms)
		delay_ms = not_before_ms;
	*due_at = now + delay_ms * 1000;
	return true;
}
