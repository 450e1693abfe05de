/*
 * src/seal/step.c
 *		Sealing as the worker does it.
 *
 * A step cuts one block of bounded size, so that claims and answers wait no
 * longer than for any other batch; what has piled up is worked off step by
 * step, in a tenth of the worker's time.  Posting is then hardly slowed, be
 * there ever so much to seal; if the sealer falls behind for long, it takes
 * half.  A head is written to payments.seal_file after the commit of its
 * block.  When the worker starts it writes the newest head again: the server
 * may have died between the two.
 */
#include "payments.h"

#include "seal/sealer.h"

#include "core/clock.h"
#include "core/guc.h"
#include "core/spi.h"
#include "seal/head_file.h"

#include "lib/stringinfo.h"

/* There may be more: look again after this, or after so many times what the step took. */
#define AGAIN_MS_MIN 100
#define REST 9
/* After so many intervals in which it never caught up, it rests no longer than it works. */
#define BEHIND_INTERVALS 10
/* So often within payments.seal_interval it is looked whether many rows call for a block. */
#define LOOKS 6
#define LOOK_MS_MIN 10

/* Process-local.  Block written to the file last; -1: not known. */
static int64 exported = -1;

/* Has the log been told that heads cannot be written? */
static bool complained = false;

/* Since when each step has found something to seal; 0: the last one did not. */
static PaySteady behind_since = 0;

/* Of the step under way. */
static PaySteady started_at = 0;
static int	cut = 0;
static int64 newest = -1;
static char *lines = NULL;

static PayStmt seal_blocks = PAY_STMT(SPI_OK_SELECT,
	"SELECT payments.seal_blocks(1, $1::bigint * interval '1 ms')", INT8OID);
static PayStmt read_heads = PAY_STMT(SPI_OK_SELECT,
	"SELECT s.block, payments._seal_head_line(s.block, s.hash, s.sealed_at) FROM payments.seal s "
	"WHERE s.block > CASE WHEN $1 >= 0 THEN $1 ELSE (SELECT h.block - 1 FROM payments.seal_head h) END ORDER BY s.block LIMIT 1000",
	INT8OID);

void
pay_sealer_work(void *arg)
{
	PayArgs		args = {0};
	PayArgs		heads = {0};
	StringInfoData text;
	uint64		n;

	started_at = pay_clock_now();
	cut = 0;
	lines = NULL;
	pay_arg_int64(&args, pay_seal_interval_ms);
	pay_spi_exec(&seal_blocks, &args);
	cut = pay_spi_int32(0, 1);
	if (pay_seal_file[0] == '\0')
		return;
	pay_arg_int64(&heads, exported);
	n = pay_spi_exec(&read_heads, &heads);
	if (n == 0)
		return;
	initStringInfo(&text);
	for (uint64 i = 0; i < n; i++)
		appendStringInfo(&text, "%s\n", pay_spi_text(i, 2));
	newest = pay_spi_int64(n - 1, 1);
	lines = text.data;
}

PaySteady
pay_sealer_done(bool ok, PaySteady now)
{
	if (ok && lines)
	{
		const char *problem = pay_seal_file_append(lines);

		if (problem == NULL)
			exported = newest;
		else if (!complained)
			ereport(LOG,
					(errmsg("payments worker cannot write heads of sealed blocks: %s", problem),
					 errhint("It tries again with each block, and writes those that are missing then.")));
		complained = problem != NULL;
	}
	if (ok && cut > 0)
	{
		PaySteady	took = now - started_at;

		if (behind_since == 0)
			behind_since = now;
		if (now - behind_since < (PaySteady) pay_seal_interval_ms * BEHIND_INTERVALS * 1000)
			took *= REST;
		return now + Max(took, AGAIN_MS_MIN * 1000);
	}
	behind_since = 0;
	return now + (PaySteady) Max(pay_seal_interval_ms / LOOKS, LOOK_MS_MIN) * 1000;
}

/* Another file may be named: it gets the newest head, and what is wrong with it is told. */
void
pay_sealer_reload(void)
{
	exported = -1;
	complained = false;
}
