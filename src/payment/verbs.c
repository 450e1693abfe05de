/*
 * src/payment/verbs.c
 *		The verbs: create; capture, cancel and refund are in payment/follow_up.c.
 *
 * Each is one script inside the caller's transaction: check the input, take
 * the idempotency key, lock the payment, check the state, write, and wake the
 * worker at commit.  An error leaves nothing behind, not even the key.  An
 * accepted call forces a synchronous local commit, whatever the caller's
 * synchronous_commit says (promise 3).
 */
#include "payments.h"

#include "base/uuid.h"
#include "core/arguments.h"
#include "core/caller.h"
#include "core/guc.h"
#include "core/merchant.h"
#include "core/spi.h"
#include "core/wake.h"
#include "payment/ability.h"
#include "payment/idempotency.h"
#include "payment/outbox.h"
#include "payment/payment.h"
#include "payment/route.h"
#include "payment/route_rule.h"
#include "payment/state.h"
#include "payment/verbs.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* What create_payment() and its siblings were asked. */
typedef struct PayCreate
{
	const char *key;
	int64		amount;
	const char *currency;
	const char *merchant;
	const char *payment_method;
	const char *capture;
	const char *order_ref;
	const char *customer;
	const char *psp;
	const char *return_url;
	const char *description;
	Datum		metadata;
	const char *metadata_text;
	bool		off_session;
	const char *kind;
	/* found */
	const char *resolved_psp;
	const PayRouteChoice *choice;	/* by a rule; NULL: the call or the merchant named it */
} PayCreate;

static void read_create(FunctionCallInfo fcinfo, PayCreate *create);
static void check_create(const PayCreate *create);
static void hash_request(const PayCreate *create, uint8 *hash);
static bool find_first(const PayCreate *create, const uint8 *hash, PayFirstResult *first);
static const char *choose_route(PayCreate *create, TimestampTz now, int *sqlstate, const char **hint);
static const char *find_route(PayCreate *create, const char *psp, int *sqlstate, const char **hint);
static bool insert_payment(const PayCreate *create, const uint8 *request_hash, const PayFirstResult *result, TimestampTz now);

PAY_FUNCTION(pay_create_payment);

/* ---------- input ---------- */

/* Length, control characters. */
void
pay_verb_check_text(const char *name, const char *value, int chars_max)
{
	if (value == NULL)
		return;
	if (pg_mbstrlen(value) > chars_max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is longer than %d characters", name, chars_max),
				 errhint("Store long texts in your own tables and pass a reference.")));
	for (const unsigned char *p = (const unsigned char *) value; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s contains a control character", name),
					 errhint("Use printable characters only.")));
}

void
pay_verb_check_amount(int64 amount)
{
	if (amount <= 0 || amount > PAY_AMOUNT_MAX)
		ereport(ERROR,
				(errcode(PAY_ERR_AMOUNT_INVALID),
				 amount <= 0 ? errmsg("amount must be above zero") : errmsg("amount is larger than " INT64_FORMAT, PAY_AMOUNT_MAX),
				 errhint("Amounts are whole minor units: 1050 is 10.50 EUR.")));
}

void
pay_verb_check_key(const char *key)
{
	pay_idempotency_check_key(key);
	pay_verb_check_text("idempotency key", key, PAY_KEY_CHARS_MAX);
}

/* ---------- create ---------- */

/* create_payment(idempotency_key, amount, currency, ...) */
PAY_VERB(pay_create_payment)
{
	PayCreate	create = {0};
	PayFirstResult result;
	uint8		hash[PAY_HASH_BYTES];
	TimestampTz now = GetCurrentTimestamp();
	const char *problem,
			   *hint = NULL;
	int			sqlstate = 0;
	int			bucket;

	pay_refuse_card_arguments(fcinfo);
	read_create(fcinfo, &create);
	check_create(&create);
	hash_request(&create, hash);

	pay_spi_begin();
	problem = choose_route(&create, now, &sqlstate, &hint);
	if (problem)
	{
		/* A repeated call gets its first result even if the route has changed since. */
		if (create.merchant && find_first(&create, hash, &result))
		{
			pay_spi_end();
			return pay_verb_result(fcinfo, &result.payment_id, result.status, true);
		}
		ereport(ERROR, (errcode(sqlstate), errmsg("%s", problem), errhint("%s", hint)));
	}

	bucket = pay_shard_bucket(create.merchant);
	result.payment_id = pay_new_id(bucket);
	result.operation_id = pay_new_id(bucket);
	result.status = "initiated";
	if (!insert_payment(&create, hash, &result, now))
	{
		if (!find_first(&create, hash, &result))
			elog(ERROR, "idempotency key was neither inserted nor found");
		pay_spi_end();
		return pay_verb_result(fcinfo, &result.payment_id, result.status, true);
	}
	pay_spi_end();
	ForceSyncCommit();
	pay_wake_at_commit();
	return pay_verb_result(fcinfo, &result.payment_id, result.status, false);
}

static void
read_create(FunctionCallInfo fcinfo, PayCreate *create)
{
	create->key = pay_text_argument(fcinfo, 0);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(PAY_ERR_AMOUNT_INVALID),
				 errmsg("amount must not be null"),
				 errhint("Amounts are whole minor units: 1050 is 10.50 EUR.")));
	create->amount = PG_GETARG_INT64(1);
	create->currency = pay_text_argument(fcinfo, 2);
	create->merchant = pay_text_argument(fcinfo, 3);
	create->payment_method = pay_text_argument(fcinfo, 4);
	create->capture = pay_text_argument(fcinfo, 5);
	create->order_ref = pay_text_argument(fcinfo, 6);
	create->customer = pay_text_argument(fcinfo, 7);
	create->psp = pay_text_argument(fcinfo, 8);
	create->return_url = pay_text_argument(fcinfo, 9);
	create->description = pay_text_argument(fcinfo, 10);
	create->metadata = PG_ARGISNULL(11) ? DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")) : PG_GETARG_DATUM(11);
	create->metadata_text = JsonbToCString(NULL, &DatumGetJsonbP(create->metadata)->root,
										   VARSIZE(DatumGetJsonbP(create->metadata)));
	create->off_session = !PG_ARGISNULL(12) && PG_GETARG_BOOL(12);
	create->kind = "purchase";
}

static void
check_create(const PayCreate *create)
{
	pay_verb_check_key(create->key);
	pay_verb_check_amount(create->amount);
	if (create->capture == NULL || (strcmp(create->capture, "automatic") != 0 && strcmp(create->capture, "manual") != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("capture must be \"automatic\" or \"manual\""),
				 errhint("With \"manual\" the amount is only held until capture_payment().")));
	pay_verb_check_text("payment_method", create->payment_method, 255);
	pay_verb_check_text("order_ref", create->order_ref, 255);
	pay_verb_check_text("customer", create->customer, 255);
	pay_verb_check_text("description", create->description, 1000);
	pay_verb_check_text("return_url", create->return_url, 2000);
	if (create->return_url && strncmp(create->return_url, "https://", 8) != 0 && strncmp(create->return_url, "http://", 7) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("return_url is not an http or https URL"),
				 errhint("It is where the PSP sends the payer back to: https://shop.example/done.")));
	if (!JB_ROOT_IS_OBJECT(DatumGetJsonbP(create->metadata)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata is not a JSON object"),
				 errhint("For example '{\"cart\": 17}'.")));
	pay_verb_check_text("metadata", create->metadata_text, PAY_METADATA_BYTES_MAX);
}

/* Everything the client said, as it said it: what a repetition must equal. */
static void
hash_request(const PayCreate *create, uint8 *hash)
{
	PaySha256  *sha = pay_sha_begin();

	pay_sha_add_text(sha, create->kind);
	pay_sha_add_int64(sha, create->amount);
	pay_sha_add_text(sha, create->currency);
	pay_sha_add_text(sha, create->payment_method);
	pay_sha_add_text(sha, create->capture);
	pay_sha_add_text(sha, create->order_ref);
	pay_sha_add_text(sha, create->customer);
	pay_sha_add_text(sha, create->psp);
	pay_sha_add_text(sha, create->return_url);
	pay_sha_add_text(sha, create->description);
	pay_sha_add_text(sha, create->metadata_text);
	pay_sha_add_int64(sha, create->off_session ? 1 : 0);
	pay_sha_finish(sha, hash);
}

static bool
find_first(const PayCreate *create, const uint8 *hash, PayFirstResult *first)
{
	const PayAsked asked[PAY_ASKED_MAX] = {
		{"amount", psprintf(INT64_FORMAT, create->amount)},
		{"currency", create->currency},
		{"payment_method", create->payment_method},
		{"capture", create->capture},
		{"order_ref", create->order_ref},
		{"customer", create->customer},
		{"psp", create->psp},
		{"return_url", create->return_url},
		{"description", create->description},
		{"metadata", create->metadata_text},
		{"off_session", create->off_session ? "true" : "false"},
	};

	return pay_idempotency_find(create->merchant, create->key, "create_payment", hash, asked, first);
}

/*
 * The PSP that the call names; else the first of the rule's that can take the
 * payment, and be called now; else the merchant's.  One that cannot be called
 * is better than none: the payment waits for it.
 */
static const char *
choose_route(PayCreate *create, TimestampTz now, int *sqlstate, const char **hint)
{
	PayRouteAsk ask = {
		.merchant = create->merchant, .key = create->key, .kind = create->kind, .amount = create->amount, .currency = create->currency,
		.payment_method = create->payment_method, .capture = create->capture, .metadata = DatumGetJsonbP(create->metadata), .now = now,
	};
	PayRouteChoice *choice = create->psp || create->merchant == NULL ? NULL : pay_route_choose(&ask);
	const char *problem = NULL;

	if (choice == NULL)
		return find_route(create, create->psp, sqlstate, hint);
	for (int away = 0; away < 2; away++)
		for (int i = 0; i < choice->n; i++)
		{
			PayRouteCandidate *candidate = &choice->candidates[i];

			if (candidate->is_away != (away == 1))
				continue;
			problem = find_route(create, candidate->psp, sqlstate, hint);
			if (problem == NULL)
			{
				choice->psp = create->resolved_psp;
				create->choice = choice;
				return NULL;
			}
			/* Whether this one can take it nobody has said: the same call, repeated after rows were lost, must not go elsewhere. */
			if (*sqlstate == ERRCODE_EXTERNAL_ROUTINE_EXCEPTION)
				return problem;
			candidate->out = problem;
		}
	return problem;
}

/* Merchant, PSP and currency.  Returns NULL, or what is wrong with a SQLSTATE and a hint. */
static const char *
find_route(PayCreate *create, const char *psp, int *sqlstate, const char **hint)
{
	const PayRoute *route = pay_route_find(create->merchant, psp, create->currency);
	int64		psp_amount;
	const char *problem;
	PayCommand	command;

	problem = pay_route_problem(route, create->merchant, psp, create->currency, create->amount, &psp_amount, sqlstate, hint);
	if (problem)
		return problem;
	create->resolved_psp = route->psp;
	command = (PayCommand) {
		.kind = strcmp(create->capture, "manual") == 0 ? PAY_OP_AUTHORIZE : PAY_OP_CHARGE, .amount = psp_amount,
		.currency = create->currency, .exponent = route->psp_exponent, .payment_method = create->payment_method,
		.customer = create->customer, .order_ref = create->order_ref, .description = create->description,
		.return_url = create->return_url, .off_session = create->off_session,
	};
	return pay_route_refusal(route, &command, sqlstate, hint);
}

/*
 * The intake, as plain single-row inserts: one statement with a WITH for all
 * of them took a sixth longer, in setting up and tearing down its plan.
 */
static PayStmt insert_payment_row = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.payment (payment_id, merchant, kind, amount, currency, capture, psp, payment_method, order_ref, "
	" customer, return_url, description, off_session, metadata, created_at, status, seq, status_hash, updated_at, route) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 'initiated', 1, $16, $15, $17)",
	UUIDOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID,
	JSONBOID, TIMESTAMPTZOID, BYTEAOID, JSONBOID);
static PayStmt insert_status_row = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.payment_status (payment_id, seq, status, event, source, actor, recorded_at, hash) "
	"VALUES ($1, 1, 'initiated', 'create', 'client', $2, $3, $4)", UUIDOID, TEXTOID, TIMESTAMPTZOID, BYTEAOID);
static PayStmt insert_operation_row = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.operation (operation_id, payment_id, kind, amount, currency, psp, psp_ref, created_at, status) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'initiated')",
	UUIDOID, UUIDOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
static PayStmt insert_queue_row = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.queue (operation_id, payment_id, psp, action, due_at, enqueued_at) VALUES ($1, $2, $3, 'send', $4, $4)",
	UUIDOID, UUIDOID, TEXTOID, TIMESTAMPTZOID);

/* Returns false, having written nothing, when the key is taken. */
static bool
insert_payment(const PayCreate *create, const uint8 *request_hash, const PayFirstResult *result, TimestampTz now)
{
	bool		manual = strcmp(create->capture, "manual") == 0;
	const char *kind = pay_op_kind_name(manual ? PAY_OP_AUTHORIZE : PAY_OP_CHARGE);
	PayStatusRow row = {0};
	uint8		status_hash[PAY_HASH_BYTES];
	PayArgs		payment = {0},
				status = {0},
				operation = {0},
				queue = {0};

	if (!pay_idempotency_insert(create->merchant, create->key, "create_payment", request_hash, result, now))
		return false;

	row.payment_id = result->payment_id;
	row.seq = 1;
	row.status = "initiated";
	row.event = "create";
	row.source = "client";
	row.actor = pay_caller_name();
	row.recorded_at = now;
	pay_state_hash(&row, NULL, status_hash);

	pay_arg_uuid(&payment, &result->payment_id);
	pay_arg_text(&payment, create->merchant);
	pay_arg_text(&payment, create->kind);
	pay_arg_int64(&payment, create->amount);
	pay_arg_text(&payment, create->currency);
	pay_arg_text(&payment, create->capture);
	pay_arg_text(&payment, create->resolved_psp);
	pay_arg_text(&payment, create->payment_method);
	pay_arg_text(&payment, create->order_ref);
	pay_arg_text(&payment, create->customer);
	pay_arg_text(&payment, create->return_url);
	pay_arg_text(&payment, create->description);
	pay_arg_bool(&payment, create->off_session);
	pay_arg_datum(&payment, create->metadata, false);
	pay_arg_time(&payment, now);
	pay_arg_bytes(&payment, status_hash, PAY_HASH_BYTES);
	pay_arg_datum(&payment, create->choice ? pay_route_json(create->choice) : (Datum) 0, create->choice == NULL);
	pay_spi_exec(&insert_payment_row, &payment);

	pay_arg_uuid(&status, &result->payment_id);
	pay_arg_text(&status, row.actor);
	pay_arg_time(&status, now);
	pay_arg_bytes(&status, status_hash, PAY_HASH_BYTES);
	pay_spi_exec(&insert_status_row, &status);

	pay_arg_uuid(&operation, &result->operation_id);
	pay_arg_uuid(&operation, &result->payment_id);
	pay_arg_text(&operation, kind);
	pay_arg_int64(&operation, create->amount);
	pay_arg_text(&operation, create->currency);
	pay_arg_text(&operation, create->resolved_psp);
	pay_arg_text(&operation, pay_idempotency_psp_ref(create->merchant, create->key, kind));
	pay_arg_time(&operation, now);
	pay_spi_exec(&insert_operation_row, &operation);

	pay_arg_uuid(&queue, &result->operation_id);
	pay_arg_uuid(&queue, &result->payment_id);
	pay_arg_text(&queue, create->resolved_psp);
	pay_arg_time(&queue, now);
	pay_spi_exec(&insert_queue_row, &queue);

	pay_outbox_begin(&result->payment_id, create->merchant, create->amount, create->currency, create->order_ref, now);
	return true;
}

Datum
pay_verb_result(FunctionCallInfo fcinfo, const pg_uuid_t *id, const char *status, bool replayed)
{
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	values[0] = UUIDPGetDatum(id);
	values[1] = CStringGetTextDatum(status);
	values[2] = BoolGetDatum(replayed);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}
