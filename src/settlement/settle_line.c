/*
 * src/settlement/settle_line.c
 *		What a settlement line says of a payment goes through pay_apply().
 *
 * Which line is about which payment is found out in SQL, for many at once
 * (sql/settlement/match.sql, apply_lines.sql); here each becomes a PayReport, and the one door
 * decides as it does for an answer or a webhook.  A line is the PSP's own book:
 * it speaks of money that has moved, never of a decline.
 */
#include "payments.h"

#include "core/spi.h"
#include "core/caller.h"
#include "payment/apply.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* More than a step of the job ever passes. */
#define LINES_MAX 10000

typedef struct LineEffect
{
	const char *kind;			/* settlement_line.kind */
	PayEffect	effect;
} LineEffect;

static const LineEffect effects[] = {
	{"charge", PAY_EFFECT_CAPTURED},
	{"refund", PAY_EFFECT_REFUNDED},
	{"refund_failure", PAY_EFFECT_REFUND_FAILED},
	{"chargeback", PAY_EFFECT_DISPUTED},
	{"chargeback_reversal", PAY_EFFECT_DISPUTE_WON},
};

static bool read_line(uint64 row, const char *psp, PayReport *report);
static const char *outcome_name(PayOutcome outcome);

PAY_FUNCTION(pay_settlement_apply);

/* Fee and amount are of the payment's currency, or the fee is left to the postings of the batch. */
static PayStmt read_lines = PAY_STMT(SPI_OK_SELECT,
	"SELECT u.n, l.kind, coalesce(u.amount, payments._line_moved(l.kind, l.gross, l.original_amount)),"
	"       coalesce(l.original_currency, l.currency), l.fee, l.currency,"
	"       coalesce(l.entry_id, u.object_id), l.psp_payment_id, u.object_id, u.payment_id, u.with_fee, l.reference"
	" FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY u (batch_id, line_no, payment_id, object_id, amount, with_fee, n)"
	" JOIN payments.settlement_line l ON l.batch_id = u.batch_id AND l.line_no = u.line_no"
	" ORDER BY u.n", INT8ARRAYOID, INT4ARRAYOID, UUIDARRAYOID, TEXTARRAYOID, INT8ARRAYOID, BOOLARRAYOID);

/*
 * _settlement_apply(psp, batch_ids, line_nos, payment_ids, object_ids, amounts, with_fee, wait):
 * a row for each, by its place in the arrays.
 */
Datum
pay_settlement_apply(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *psp = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		wait = PG_GETARG_BOOL(7);
	PayArgs		args = {0};
	PayReport  *reports;
	int		   *places;
	uint64		rows;
	int			n = 0;

	InitMaterializedSRF(fcinfo, 0);
	pay_spi_begin();
	for (int i = 1; i <= 6; i++)
		pay_arg_datum(&args, PG_GETARG_DATUM(i), false);
	rows = pay_spi_exec(&read_lines, &args);
	if (rows > LINES_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("too many settlement lines at once: " UINT64_FORMAT, rows),
				 errhint("At most %d.", LINES_MAX)));
	reports = palloc0(sizeof(PayReport) * Max(rows, 1));
	places = palloc(sizeof(int) * Max(rows, 1));
	for (uint64 row = 0; row < rows; row++)
	{
		places[n] = (int) pay_spi_int64(row, 1);
		if (read_line(row, psp, &reports[n]))
			n++;
	}
	pay_apply(reports, n, wait, GetCurrentTimestamp(), pay_caller_name());
	pay_spi_end();
	for (int i = 0; i < n; i++)
	{
		Datum		values[3] = {Int32GetDatum(places[i]), CStringGetTextDatum(outcome_name(reports[i].outcome))};
		bool		nulls[3] = {false, false, reports[i].status == NULL};

		if (reports[i].status)
			values[2] = CStringGetTextDatum(reports[i].status);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* False when the line is not about a payment, or takes back what another told. */
static bool
read_line(uint64 row, const char *psp, PayReport *report)
{
	char	   *kind = pay_spi_text(row, 2);
	int64		amount = pay_spi_int64(row, 3);
	int64		fee = pay_spi_int64(row, 5);
	PayResult  *r = &report->result;

	for (int i = 0; i < (int) lengthof(effects); i++)
		if (strcmp(effects[i].kind, kind) == 0 && amount > 0)
		{
			report->source = PAY_SOURCE_SETTLEMENT;
			report->psp = psp;
			report->payment_known = true;
			report->payment_id = pay_spi_uuid(row, 10);
			r->class = PAY_CLASS_APPROVED;
			r->effect = effects[i].effect;
			r->amount = amount;
			r->currency = pay_spi_text(row, 4);
			r->object_id = pay_spi_text(row, 9);
			r->psp_payment_id = pay_spi_text(row, 8);
			r->psp_ref = pay_spi_text(row, 12);
			r->retry_after_ms = -1;
			if (r->effect == PAY_EFFECT_CAPTURED && fee > 0 && pay_spi_bool(row, 11))
			{
				r->fee = fee;
				r->fee_currency = pay_spi_text(row, 6);
				r->fee_object_id = pay_spi_text(row, 7);
			}
			return true;
		}
	return false;
}

static const char *
outcome_name(PayOutcome outcome)
{
	switch (outcome)
	{
		case PAY_OUTCOME_UNMATCHED:
			return "unmatched";
		case PAY_OUTCOME_LOCKED:
			return "locked";
		case PAY_OUTCOME_NO_EFFECT:
			return "no_effect";
		case PAY_OUTCOME_APPLIED:
			return "applied";
	}
	return NULL;
}
