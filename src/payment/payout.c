/*
 * src/payment/payout.c
 *		Money that leaves: create_payout().  What becomes of it is in
 *		payment/apply_payout.c.
 *
 * Always true: what is on its way out is reserved.  The balance gives it in the
 * transaction that accepts the payout, so two that race for one balance meet at
 * its account, and where that has a limit the second is refused.  From the
 * reserve it goes once: out, when the PSP has paid, or back, when it is certain
 * that it never did.  While nobody knows, it stays there.  What was paid and
 * comes back later, as banks have it, is booked by a movement of its own.
 *
 * A crash before the commit leaves nothing: neither payout nor reserve nor key.
 */
#include "payments.h"

#include "base/uuid.h"
#include "core/arguments.h"
#include "core/caller.h"
#include "core/merchant.h"
#include "core/spi.h"
#include "core/wake.h"
#include "payment/ability.h"
#include "payment/idempotency.h"
#include "payment/outbox.h"
#include "payment/payment.h"
#include "payment/route.h"
#include "payment/state.h"
#include "payment/verbs.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define VERB "create_payout"

/* What create_payout() was asked. */
typedef struct PayPayout
{
	const char *key;
	int64		amount;
	const char *currency;
	const char *merchant;
	const char *destination;
	const char *psp;
	const char *order_ref;
	const char *description;
	Datum		metadata;
	const char *metadata_text;
	/* found */
	const PayRoute *route;
	const char *kind;			/* of the payment: withdrawal, or transfer where it stays at the PSP */
} PayPayout;

static void read_payout(FunctionCallInfo fcinfo, PayPayout *payout);
static void hash_payout(const PayPayout *payout, uint8 *hash);
static bool find_first(const PayPayout *payout, const uint8 *hash, PayFirstResult *first);
static void find_route(PayPayout *payout);
static void insert_payout(const PayPayout *payout, const PayFirstResult *result, TimestampTz now);
static void begin(const PayPayout *payout, PayFirstResult *result, TimestampTz now);

PAY_FUNCTION(pay_create_payout);

static PayStmt insert_payment_row = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.payment (payment_id, merchant, kind, amount, currency, capture, psp, payment_method, order_ref, "
	" description, off_session, metadata, created_at, status, seq, status_hash, updated_at) "
	"VALUES ($1, $2, $3, $4, $5, 'automatic', $6, $7, $8, $9, false, $10, $11, 'initiated', 1, $12, $11)",
	UUIDOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID, BYTEAOID);
static PayStmt insert_status_row = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.payment_status (payment_id, seq, status, event, source, actor, recorded_at, hash) "
	"VALUES ($1, 1, 'initiated', 'create', 'client', $2, $3, $4)", UUIDOID, TEXTOID, TIMESTAMPTZOID, BYTEAOID);

/* create_payout(idempotency_key, amount, currency, merchant, destination, psp, order_ref, description, metadata) */
PAY_VERB(pay_create_payout)
{
	PayPayout	payout = {0};
	PayFirstResult result;
	uint8		hash[PAY_HASH_BYTES];
	TimestampTz now = GetCurrentTimestamp();
	bool		replayed = true;
	int			bucket;

	pay_refuse_card_arguments(fcinfo);
	read_payout(fcinfo, &payout);
	hash_payout(&payout, hash);

	pay_spi_begin();
	if (payout.merchant == NULL || !find_first(&payout, hash, &result))
	{
		find_route(&payout);
		bucket = pay_shard_bucket(payout.merchant);
		result.payment_id = pay_new_id(bucket);
		result.operation_id = pay_new_id(bucket);
		result.status = "initiated";
		/* A twin waits here, and then finds the first. */
		replayed = !pay_idempotency_insert(payout.merchant, payout.key, VERB, hash, &result, now);
		if (!replayed)
			begin(&payout, &result, now);
		else if (!find_first(&payout, hash, &result))
			elog(ERROR, "idempotency key was neither inserted nor found");
	}
	pay_spi_end();
	if (!replayed)
	{
		ForceSyncCommit();
		pay_wake_at_commit();
	}
	return pay_verb_result(fcinfo, &result.payment_id, result.status, replayed);
}

static void
read_payout(FunctionCallInfo fcinfo, PayPayout *payout)
{
	payout->key = pay_text_argument(fcinfo, 0);
	pay_verb_check_key(payout->key);
	pay_verb_check_amount(PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1));
	payout->amount = PG_GETARG_INT64(1);
	payout->currency = pay_text_argument(fcinfo, 2);
	payout->merchant = pay_text_argument(fcinfo, 3);
	payout->destination = pay_text_argument(fcinfo, 4);
	payout->psp = pay_text_argument(fcinfo, 5);
	payout->order_ref = pay_text_argument(fcinfo, 6);
	payout->description = pay_text_argument(fcinfo, 7);
	payout->metadata = PG_ARGISNULL(8) ? DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")) : PG_GETARG_DATUM(8);
	payout->metadata_text = JsonbToCString(NULL, &DatumGetJsonbP(payout->metadata)->root, VARSIZE(DatumGetJsonbP(payout->metadata)));
	pay_verb_check_text("destination", payout->destination, 255);
	pay_verb_check_text("order_ref", payout->order_ref, 255);
	pay_verb_check_text("description", payout->description, 1000);
	pay_verb_check_text("metadata", payout->metadata_text, PAY_METADATA_BYTES_MAX);
	if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(payout->metadata)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata is not a JSON object"),
				 errhint("For example '{\"month\": 11}'.")));
}

static void
hash_payout(const PayPayout *payout, uint8 *hash)
{
	PaySha256  *sha = pay_sha_begin();

	pay_sha_add_text(sha, "payout");
	pay_sha_add_int64(sha, payout->amount);
	pay_sha_add_text(sha, payout->currency);
	pay_sha_add_text(sha, payout->destination);
	pay_sha_add_text(sha, payout->psp);
	pay_sha_add_text(sha, payout->order_ref);
	pay_sha_add_text(sha, payout->description);
	pay_sha_add_text(sha, payout->metadata_text);
	pay_sha_finish(sha, hash);
}

static bool
find_first(const PayPayout *payout, const uint8 *hash, PayFirstResult *first)
{
	const PayAsked asked[PAY_ASKED_MAX] = {
		{"amount", psprintf(INT64_FORMAT, payout->amount)},
		{"currency", payout->currency},
		{"payment_method", payout->destination},
		{"psp", payout->psp},
		{"order_ref", payout->order_ref},
		{"description", payout->description},
		{"metadata", payout->metadata_text},
	};

	pay_require_merchant(payout->merchant);
	return pay_idempotency_find(payout->merchant, payout->key, VERB, hash, asked, first);
}

/* Merchant, PSP and currency, and whether the PSP can send it. */
static void
find_route(PayPayout *payout)
{
	const PayRoute *route = pay_route_find(payout->merchant, payout->psp, payout->currency);
	int64		psp_amount = 0;
	int			sqlstate = 0;
	const char *hint = NULL,
			   *problem;
	PayCommand	command;

	problem = pay_route_problem(route, payout->merchant, payout->psp, payout->currency, payout->amount, &psp_amount, &sqlstate, &hint);
	if (problem)
		ereport(ERROR, (errcode(sqlstate), errmsg("%s", problem), errhint("%s", hint)));
	command = (PayCommand) {
		.kind = PAY_OP_PAYOUT, .amount = psp_amount, .currency = payout->currency, .exponent = route->psp_exponent,
		.payment_method = payout->destination, .destination = payout->destination, .order_ref = payout->order_ref, .description = payout->description,
	};
	problem = pay_route_refusal(route, &command, &sqlstate, &hint);
	if (problem)
		ereport(ERROR,
				(errcode(sqlstate),
				 errmsg("%s", problem),
				 errhint("Name a PSP that can pay out with psp => '...', and where it goes with destination => '...'.")));
	payout->route = route;
	payout->kind = route->adapter && route->adapter->stays_at_psp && route->adapter->stays_at_psp(payout->destination) ? "transfer" : "withdrawal";
}

static void
insert_payout(const PayPayout *payout, const PayFirstResult *result, TimestampTz now)
{
	PayStatusRow row = {.payment_id = result->payment_id, .seq = 1, .status = "initiated", .event = "create", .source = "client",
		.actor = pay_caller_name(), .recorded_at = now};
	uint8		status_hash[PAY_HASH_BYTES];
	PayArgs		payment = {0},
				status = {0};

	pay_state_hash(&row, NULL, status_hash);
	pay_arg_uuid(&payment, &result->payment_id);
	pay_arg_text(&payment, payout->merchant);
	pay_arg_text(&payment, payout->kind);
	pay_arg_int64(&payment, payout->amount);
	pay_arg_text(&payment, payout->currency);
	pay_arg_text(&payment, payout->route->psp);
	pay_arg_text(&payment, payout->destination);
	pay_arg_text(&payment, payout->order_ref);
	pay_arg_text(&payment, payout->description);
	pay_arg_datum(&payment, payout->metadata, false);
	pay_arg_time(&payment, now);
	pay_arg_bytes(&payment, status_hash, PAY_HASH_BYTES);
	pay_spi_exec(&insert_payment_row, &payment);

	pay_arg_uuid(&status, &result->payment_id);
	pay_arg_text(&status, row.actor);
	pay_arg_time(&status, now);
	pay_arg_bytes(&status, status_hash, PAY_HASH_BYTES);
	pay_spi_exec(&insert_status_row, &status);
	pay_outbox_begin(&result->payment_id, payout->merchant, payout->amount, payout->currency, payout->order_ref, now);
}

/* The payment, its operation, and what is reserved for it, by the account's lock. */
static void
begin(const PayPayout *payout, PayFirstResult *result, TimestampTz now)
{
	PayPayments *set;
	PayOperation *operation;

	insert_payout(payout, result, now);
	set = pay_payments_load(&result->payment_id, 1, now, pay_caller_name());
	operation = pay_payment_add_operation(set, &set->list[0], PAY_OP_PAYOUT, payout->amount, NULL,
										  pay_idempotency_psp_ref(payout->merchant, payout->key, pay_op_kind_name(PAY_OP_PAYOUT)));
	operation->operation_id = result->operation_id;
	pay_payment_move(set, &set->list[0], operation, "payout_reserved", operation->psp_ref, payout->amount, "client");
	pay_payments_save(set);
}
