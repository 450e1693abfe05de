/*
 * src/payment/state.c
 *		The state machine of a payment.
 *
 * The graph is the table below and nothing else: the SQL seed of
 * payments.transition, the diagram in docs/states.md and the guard trigger on
 * payment_status are all made from it or checked against it.
 *
 * What is always true: no edge leads out of a final status (failed, cancelled,
 * expired), and none leads back to initiated.  `in_doubt` is left only by word
 * of the PSP or of a person.
 */
#include "payments.h"

#include "payment/state.h"

#include "base/digest.h"
#include "core/arguments.h"
#include "core/spi.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

const PayTransition pay_transitions[] = {
	{"", "create", "initiated"},

	{"initiated", "claim", "processing"},
	{"initiated", "authorize", "authorized"},
	{"initiated", "capture", "succeeded"},
	{"initiated", "require_action", "requires_action"},
	{"initiated", "decline", "failed"},
	{"initiated", "soft_decline", "awaiting_retry"},
	{"initiated", "doubt", "in_doubt"},
	{"initiated", "void", "cancelled"},
	{"initiated", "cancel", "cancelled"},
	{"initiated", "expire", "expired"},
	{"initiated", "discard", "failed"},

	{"processing", "authorize", "authorized"},
	{"processing", "capture", "succeeded"},
	{"processing", "require_action", "requires_action"},
	{"processing", "decline", "failed"},
	{"processing", "soft_decline", "awaiting_retry"},
	{"processing", "defer", "awaiting_retry"},
	{"processing", "doubt", "in_doubt"},
	{"processing", "void", "cancelled"},
	{"processing", "expire", "expired"},
	{"processing", "discard", "failed"},

	{"awaiting_retry", "claim", "processing"},
	{"awaiting_retry", "authorize", "authorized"},
	{"awaiting_retry", "capture", "succeeded"},
	{"awaiting_retry", "require_action", "requires_action"},
	{"awaiting_retry", "decline", "failed"},
	{"awaiting_retry", "doubt", "in_doubt"},
	{"awaiting_retry", "void", "cancelled"},
	{"awaiting_retry", "cancel", "cancelled"},
	{"awaiting_retry", "expire", "expired"},
	{"awaiting_retry", "discard", "failed"},

	{"in_doubt", "authorize", "authorized"},
	{"in_doubt", "capture", "succeeded"},
	{"in_doubt", "require_action", "requires_action"},
	{"in_doubt", "proceed", "processing"},
	{"in_doubt", "decline", "failed"},
	{"in_doubt", "soft_decline", "awaiting_retry"},
	{"in_doubt", "defer", "awaiting_retry"},
	{"in_doubt", "void", "cancelled"},
	{"in_doubt", "expire", "expired"},
	{"in_doubt", "discard", "failed"},

	{"requires_action", "proceed", "processing"},
	{"requires_action", "authorize", "authorized"},
	{"requires_action", "capture", "succeeded"},
	{"requires_action", "decline", "failed"},
	{"requires_action", "void", "cancelled"},
	{"requires_action", "expire", "expired"},
	{"requires_action", "discard", "failed"},

	{"authorized", "capture", "succeeded"},
	{"authorized", "void", "cancelled"},
	{"authorized", "expire", "expired"},

	{"succeeded", "refund_part", "partially_refunded"},
	{"succeeded", "refund_full", "refunded"},
	{"succeeded", "dispute", "disputed"},
	{"succeeded", "capture_more", "succeeded"},
	{"succeeded", "release", "succeeded"},

	{"partially_refunded", "refund_part", "partially_refunded"},
	{"partially_refunded", "refund_full", "refunded"},
	{"partially_refunded", "refund_fail_part", "partially_refunded"},
	{"partially_refunded", "refund_fail_all", "succeeded"},
	{"partially_refunded", "dispute", "disputed"},
	{"partially_refunded", "capture_more", "partially_refunded"},
	{"partially_refunded", "release", "partially_refunded"},

	{"refunded", "refund_fail_part", "partially_refunded"},
	{"refunded", "refund_fail_all", "succeeded"},
	{"refunded", "dispute", "disputed"},
	{"refunded", "capture_more", "partially_refunded"},
	{"refunded", "release", "refunded"},

	{"disputed", "dispute", "disputed"},
	{"disputed", "lose", "disputed"},
	{"disputed", "refund_part", "disputed"},
	{"disputed", "refund_full", "disputed"},
	{"disputed", "refund_fail_part", "disputed"},
	{"disputed", "refund_fail_all", "disputed"},
	{"disputed", "win_part", "partially_refunded"},
	{"disputed", "win_all", "succeeded"},
	{"disputed", "win_full", "refunded"},
	{"disputed", "capture_more", "disputed"},
	{"disputed", "release", "disputed"},
};

const int	pay_transition_count = lengthof(pay_transitions);

/* Statuses in which wait_payment() may stop; the others still have work of ours ahead. */
static const char *const resting[] = {
	"requires_action", "authorized", "succeeded", "partially_refunded", "refunded", "disputed",
};

/* Where a history was retired, what follows is chained to the end of it that was kept. */
static PayStmt retired_row = PAY_STMT(SPI_OK_SELECT,
	"SELECT status, hash FROM payments.payment_retired WHERE payment_id = $1 AND seq = $2", UUIDOID, INT4OID);

static void check_status_row(Relation partition, const PayStatusRow *row, const bytea *hash);
static const char *read_previous(Relation partition, const PayStatusRow *row, bytea **hash);
static const char *read_retired(const PayStatusRow *row, bytea **hash);
static char *tuple_text(TriggerData *trigger, const char *column);
static Datum tuple_datum(TriggerData *trigger, const char *column, Oid type, bool *isnull);

const char *
pay_state_next(const char *from, const char *event)
{
	for (int i = 0; i < pay_transition_count; i++)
		if (strcmp(pay_transitions[i].from, from) == 0 && strcmp(pay_transitions[i].event, event) == 0)
			return pay_transitions[i].to;
	return NULL;
}

/* No edge leads out of it: failed, cancelled, expired. */
bool
pay_state_is_final(const char *status)
{
	for (int i = 0; i < pay_transition_count; i++)
		if (strcmp(pay_transitions[i].from, status) == 0)
			return false;
	return true;
}

bool
pay_state_is_resting(const char *status)
{
	for (int i = 0; i < (int) lengthof(resting); i++)
		if (strcmp(resting[i], status) == 0)
			return true;
	return pay_state_is_final(status);
}

void
pay_state_hash(const PayStatusRow *row, const uint8 *previous, uint8 *hash)
{
	PaySha256  *sha = pay_sha_begin();

	pay_sha_add_bytes(sha, previous, previous ? PAY_HASH_BYTES : 0);
	pay_sha_add_uuid(sha, &row->payment_id);
	pay_sha_add_int64(sha, row->seq);
	pay_sha_add_text(sha, row->status);
	pay_sha_add_text(sha, row->event);
	pay_sha_add_bytes(sha, row->operation_id ? row->operation_id->data : NULL, row->operation_id ? UUID_LEN : 0);
	pay_sha_add_text(sha, row->source);
	pay_sha_add_text(sha, row->actor);
	pay_sha_add_text(sha, row->code);
	pay_sha_add_int64(sha, row->recorded_at);
	pay_sha_finish(sha, hash);
}

PAY_FUNCTION(pay_guard_status);
PAY_FUNCTION(pay_transition_rows);
PAY_FUNCTION(pay_status_hash_sql);
PAY_FUNCTION(pay_status_is_resting);

/*
 * AFTER INSERT on payment_status: the edge must exist, there must be the row
 * before, the hash must be right.  Two writers cannot both append: the primary
 * key lets one through, and each checked the row before it.
 *
 * After the statement and not before each row, since COPY, of a restore or of
 * a subscription's first copy, brings rows as they lie in the heap: where two
 * wrote at once, or space was used again, a later one may come first.
 */
Datum
pay_guard_status(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = pay_require_row_trigger(fcinfo, false);
	PayStatusRow row = {0};
	pg_uuid_t	operation_id;
	bool		isnull;
	Datum		value;

	if (!TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("guard_status() must be called as an insert trigger"),
				 errhint("Run SELECT payments.setup(); it attaches the triggers.")));

	value = tuple_datum(trigger, "payment_id", UUIDOID, &isnull);
	if (!isnull)
		row.payment_id = *DatumGetUUIDP(value);
	row.seq = DatumGetInt32(tuple_datum(trigger, "seq", INT4OID, &isnull));
	row.status = tuple_text(trigger, "status");
	row.event = tuple_text(trigger, "event");
	value = tuple_datum(trigger, "operation_id", UUIDOID, &isnull);
	if (!isnull)
	{
		operation_id = *DatumGetUUIDP(value);
		row.operation_id = &operation_id;
	}
	row.source = tuple_text(trigger, "source");
	row.actor = tuple_text(trigger, "actor");
	row.code = tuple_text(trigger, "code");
	row.recorded_at = DatumGetTimestampTz(tuple_datum(trigger, "recorded_at", TIMESTAMPTZOID, &isnull));
	value = tuple_datum(trigger, "hash", BYTEAOID, &isnull);

	if (row.status == NULL || row.event == NULL || isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("a status row needs a status, an event and a hash"),
				 errhint("Do not insert into payments.payment_status; call the functions.")));
	check_status_row(trigger->tg_relation, &row, DatumGetByteaPP(value));
	return PointerGetDatum(NULL);
}

static void
check_status_row(Relation partition, const PayStatusRow *row, const bytea *hash)
{
	const char *from = "";
	const uint8 *previous = NULL;
	const char *to;
	uint8		expected[PAY_HASH_BYTES];

	if (row->seq < 1)
		ereport(ERROR,
				(errcode(PAY_ERR_BROKEN_CHAIN),
				 errmsg("status row %d does not exist", row->seq),
				 errhint("Sequence numbers of a payment's history run from 1 without gaps.")));
	if (row->seq > 1)
	{
		bytea	   *previous_hash = NULL;

		from = read_previous(partition, row, &previous_hash);
		if (previous_hash == NULL)
			from = read_retired(row, &previous_hash);
		if (previous_hash == NULL || VARSIZE_ANY_EXHDR(previous_hash) != PAY_HASH_BYTES)
			ereport(ERROR,
					(errcode(PAY_ERR_BROKEN_CHAIN),
					 errmsg("status row %d has no valid row before it", row->seq),
					 errhint("Sequence numbers of a payment's history run from 1 without gaps.")));
		previous = (uint8 *) VARDATA_ANY(previous_hash);
	}

	to = pay_state_next(from, row->event);
	if (to == NULL || strcmp(to, row->status) != 0)
		ereport(ERROR,
				(errcode(PAY_ERR_ILLEGAL_TRANSITION),
				 errmsg("event \"%s\" does not lead from status \"%s\" to \"%s\"", row->event, from, row->status),
				 errhint("See payments.transition for the edges that exist.")));

	pay_state_hash(row, previous, expected);
	if (VARSIZE_ANY_EXHDR(hash) != PAY_HASH_BYTES || memcmp(VARDATA_ANY(hash), expected, PAY_HASH_BYTES) != 0)
		ereport(ERROR,
				(errcode(PAY_ERR_BROKEN_CHAIN),
				 errmsg("the hash of status row %d does not match its content", row->seq),
				 errhint("Do not insert into payments.payment_status; call the functions.")));
}

/*
 * The row before, by the key.  All rows of a payment are in one partition, the
 * one of the new row, so no other is looked at: a plan for the whole table
 * would lock them all.  SnapshotSelf, since the row before may come from the
 * same statement; one that another transaction has not committed is not there.
 */
static const char *
read_previous(Relation partition, const PayStatusRow *row, bytea **hash)
{
	Relation	index = index_open(PayPrimaryKeyIndex(partition), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(partition);
	TupleTableSlot *slot = table_slot_create(partition, NULL);
	ScanKeyData keys[2];
	IndexScanDesc scan;
	const char *status = "";

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(&row->payment_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(row->seq - 1));
	scan = PayIndexBeginScan(partition, index, SnapshotSelf, 2);
	index_rescan(scan, keys, 2, NULL, 0);
	if (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		bool		status_null,
					hash_null;
		Datum		status_value = slot_getattr(slot, SPI_fnumber(desc, "status"), &status_null);
		Datum		hash_value = slot_getattr(slot, SPI_fnumber(desc, "hash"), &hash_null);

		if (!status_null && !hash_null)
		{
			status = TextDatumGetCString(status_value);
			*hash = DatumGetByteaPCopy(hash_value);
		}
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	return status;
}

static const char *
read_retired(const PayStatusRow *row, bytea **hash)
{
	PayArgs		args = {0};
	const char *status = "";

	pay_spi_begin();
	pay_arg_uuid(&args, &row->payment_id);
	pay_arg_int32(&args, row->seq - 1);
	if (pay_spi_exec(&retired_row, &args) == 1)
	{
		status = pay_spi_text(0, 1);
		*hash = pay_spi_bytea(0, 2);
	}
	pay_spi_end();
	return status;
}

static Datum
tuple_datum(TriggerData *trigger, const char *column, Oid type, bool *isnull)
{
	return pay_trigger_column(trigger->tg_relation, trigger->tg_trigtuple, column, type, isnull);
}

static char *
tuple_text(TriggerData *trigger, const char *column)
{
	bool		isnull;
	Datum		value = tuple_datum(trigger, column, TEXTOID, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* The table above as rows, for the seed of payments.transition and for the tests. */
Datum
pay_transition_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < pay_transition_count; i++)
	{
		Datum		values[3] = {
			CStringGetTextDatum(pay_transitions[i].from),
			CStringGetTextDatum(pay_transitions[i].event),
			CStringGetTextDatum(pay_transitions[i].to),
		};
		bool		nulls[3] = {false, false, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* _status_hash(previous, payment_id, seq, ...): for check(). */
Datum
pay_status_hash_sql(PG_FUNCTION_ARGS)
{
	PayStatusRow row = {0};
	pg_uuid_t	operation_id;
	bytea	   *previous = PG_ARGISNULL(0) ? NULL : PG_GETARG_BYTEA_PP(0);
	bytea	   *hash = palloc(VARHDRSZ + PAY_HASH_BYTES);

	for (int i = 1; i <= 9; i++)
		if (PG_ARGISNULL(i) && i != 5 && i != 8)
			PG_RETURN_NULL();
	row.payment_id = *PG_GETARG_UUID_P(1);
	row.seq = PG_GETARG_INT32(2);
	row.status = text_to_cstring(PG_GETARG_TEXT_PP(3));
	row.event = text_to_cstring(PG_GETARG_TEXT_PP(4));
	if (!PG_ARGISNULL(5))
	{
		operation_id = *PG_GETARG_UUID_P(5);
		row.operation_id = &operation_id;
	}
	row.source = text_to_cstring(PG_GETARG_TEXT_PP(6));
	row.actor = text_to_cstring(PG_GETARG_TEXT_PP(7));
	row.code = PG_ARGISNULL(8) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(8));
	row.recorded_at = PG_GETARG_TIMESTAMPTZ(9);
	if (previous && VARSIZE_ANY_EXHDR(previous) != PAY_HASH_BYTES)
		PG_RETURN_NULL();
	SET_VARSIZE(hash, VARHDRSZ + PAY_HASH_BYTES);
	pay_state_hash(&row, previous ? (uint8 *) VARDATA_ANY(previous) : NULL, (uint8 *) VARDATA(hash));
	PG_RETURN_BYTEA_P(hash);
}

/* _is_resting(status): has this status money taken or refused, or waits it for somebody outside? */
Datum
pay_status_is_resting(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(pay_state_is_resting(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}
