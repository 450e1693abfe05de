/*
 * src/payment/outbox.c
 *		What the outbox says of a status, and of the end of an operation.
 *
 * Every row of payment_status has one event, written in the same transaction;
 * so has every end of a capture, a void or a refund, which the payment's status
 * may not tell: that a refund was refused leaves it as it was.
 * The payload is built here and not by jsonb_build_object() in SQL, which
 * looks up an output function for each of its arguments.
 */
#include "payments.h"

#include "payment/outbox.h"

#include "base/uuid.h"
#include "core/spi.h"
#include "payment/payment_private.h"

#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/uuid.h"

/* Of the outbox, in the order in which it happened. */
typedef struct PayPendingEvents
{
	int			n;
	pg_uuid_t  *ids;
	const pg_uuid_t **id_pointers;
	const char **payment_ids;
	const char **types;
	Datum	   *payloads;
	const char **merchants;
} PayPendingEvents;

static void put_string(JsonbParseState **state, const char *key, const char *value);
static void put_number(JsonbParseState **state, const char *key, int64 value);
static Datum status_payload(const char *payment_id, int seq, const char *status, const char *event, const char *code,
							int64 amount, const char *currency, const char *order_ref);
static Datum operation_payload(const PayPayment *payment, const PayOperation *operation);
static void add_event(PayPendingEvents *e, const PayPayment *payment, const char *type, Datum payload);

static void
put_string(JsonbParseState **state, const char *key, const char *value)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = unconstify(char *, key);
	v.val.string.len = (int) strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &v);
	if (value == NULL)
		v.type = jbvNull;
	else
	{
		v.val.string.val = unconstify(char *, value);
		v.val.string.len = (int) strlen(value);
	}
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

static void
put_number(JsonbParseState **state, const char *key, int64 value)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = unconstify(char *, key);
	v.val.string.len = (int) strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &v);
	v.type = jbvNumeric;
	v.val.numeric = int64_to_numeric(value);
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

static Datum
status_payload(const char *payment_id, int seq, const char *status, const char *event, const char *code,
				  int64 amount, const char *currency, const char *order_ref)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	put_string(&state, "payment_id", payment_id);
	put_number(&state, "seq", seq);
	put_string(&state, "status", status);
	put_string(&state, "event", event);
	put_string(&state, "code", code);
	put_number(&state, "amount", amount);
	put_string(&state, "currency", currency);
	put_string(&state, "order_ref", order_ref);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* Its own status and amount, and whose word it was. */
static Datum
operation_payload(const PayPayment *payment, const PayOperation *operation)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	put_string(&state, "payment_id", pay_uuid_text(&payment->payment_id));
	put_string(&state, "operation_id", pay_uuid_text(&operation->operation_id));
	put_string(&state, "status", operation->status);
	put_string(&state, "source", operation->source);
	put_string(&state, "code", operation->failure_code);
	put_number(&state, "amount", operation->amount);
	put_string(&state, "currency", payment->currency);
	put_string(&state, "order_ref", payment->order_ref);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static PayStmt insert_events = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.event (id, aggregatetype, aggregateid, type, payload, merchant, created_at) "
	"SELECT u.id, 'payment', u.payment_id, u.type, u.payload, u.merchant, $6 "
	"FROM unnest($1, $2, $3, $4, $5) u (id, payment_id, type, payload, merchant)",
	UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID);

static PayStmt insert_first = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.event (id, aggregatetype, aggregateid, type, payload, merchant, created_at) "
	"VALUES ($1, 'payment', $2, 'payment.initiated', $3, $4, $5)", UUIDOID, TEXTOID, JSONBOID, TEXTOID, TIMESTAMPTZOID);

/* One row, without arrays: it is a part of create_payment(). */
void
pay_outbox_begin(const pg_uuid_t *payment_id, const char *merchant, int64 amount, const char *currency, const char *order_ref,
				 TimestampTz now)
{
	PayArgs		args = {0};
	pg_uuid_t	id = pay_new_id(pay_id_bucket(payment_id));
	char	   *payment = pay_uuid_text(payment_id);

	pay_arg_uuid(&args, &id);
	pay_arg_text(&args, payment);
	pay_arg_datum(&args, status_payload(payment, 1, "initiated", "create", NULL, amount, currency, order_ref), false);
	pay_arg_text(&args, merchant);
	pay_arg_time(&args, now);
	pay_spi_exec(&insert_first, &args);
}

void
pay_outbox_save(PayPayments *set)
{
	int			room = list_length(set->status_rows);
	PayPendingEvents e = {0};
	ListCell   *cell;
	PayArgs		args = {0};

	for (int i = 0; i < set->n; i++)
		room += list_length(set->list[i].operations);
	if (room == 0)
		return;
	e.ids = palloc(sizeof(pg_uuid_t) * room);
	e.id_pointers = palloc(sizeof(pg_uuid_t *) * room);
	e.payment_ids = palloc(sizeof(char *) * room);
	e.types = palloc(sizeof(char *) * room);
	e.payloads = palloc(sizeof(Datum) * room);
	e.merchants = palloc(sizeof(char *) * room);

	foreach(cell, set->status_rows)
	{
		const PayPendingStatus *pending = lfirst(cell);
		const PayStatusRow *row = &pending->row;

		add_event(&e, pending->payment, psprintf("payment.%s", row->status),
				  status_payload(pay_uuid_text(&row->payment_id), row->seq, row->status, row->event, row->code,
								 pending->payment->amount, pending->payment->currency, pending->payment->order_ref));
	}
	for (PayPayment *payment = set->list; payment < set->list + set->n; payment++)
		foreach(cell, payment->operations)
		{
			const PayOperation *operation = lfirst(cell);

			if (operation->ended && !pay_operation_is_first(operation))
				add_event(&e, payment, psprintf("%s.%s", pay_op_kind_name(operation->kind), operation->status),
						  operation_payload(payment, operation));
		}
	if (e.n == 0)
		return;
	pay_arg_uuid_array(&args, e.id_pointers, e.n);
	pay_arg_text_array(&args, e.payment_ids, e.n);
	pay_arg_text_array(&args, e.types, e.n);
	pay_arg_datum(&args, PointerGetDatum(construct_array(e.payloads, e.n, JSONBOID, -1, false, TYPALIGN_INT)), false);
	pay_arg_text_array(&args, e.merchants, e.n);
	pay_arg_time(&args, set->now);
	pay_spi_exec(&insert_events, &args);
}

static PayStmt insert_dispute = PAY_STMT(SPI_OK_INSERT,
	"INSERT INTO payments.event (id, aggregatetype, aggregateid, type, payload, merchant, created_at) "
	"VALUES ($1, 'payment', $2, $3, $4, $5, $6)", UUIDOID, TEXTOID, TEXTOID, JSONBOID, TEXTOID, TIMESTAMPTZOID);

void
pay_outbox_dispute(const PayPayments *set, const PayPayment *payment, const char *object_id, const char *stage,
				   int64 amount, const char *code, TimestampTz due)
{
	JsonbParseState *state = NULL;
	pg_uuid_t	id = pay_new_id(pay_id_bucket(&payment->payment_id));
	char	   *payment_id = pay_uuid_text(&payment->payment_id);
	char		until[MAXDATELEN + 1];
	const int	utc = 0;
	PayArgs		args = {0};

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	put_string(&state, "payment_id", payment_id);
	put_string(&state, "dispute", object_id);
	put_string(&state, "stage", stage);
	put_string(&state, "code", code);
	put_number(&state, "amount", amount);
	put_string(&state, "currency", payment->currency);
	put_string(&state, "order_ref", payment->order_ref);
	put_string(&state, "evidence_due", due ? JsonEncodeDateTime(until, TimestampTzGetDatum(due), TIMESTAMPTZOID, &utc) : NULL);
	pay_arg_uuid(&args, &id);
	pay_arg_text(&args, payment_id);
	pay_arg_text(&args, psprintf("dispute.%s", stage));
	pay_arg_datum(&args, JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL))), false);
	pay_arg_text(&args, payment->merchant);
	pay_arg_time(&args, set->now);
	pay_spi_exec(&insert_dispute, &args);
}

static void
add_event(PayPendingEvents *e, const PayPayment *payment, const char *type, Datum payload)
{
	e->ids[e->n] = pay_new_id(pay_id_bucket(&payment->payment_id));
	e->id_pointers[e->n] = &e->ids[e->n];
	e->payment_ids[e->n] = pay_uuid_text(&payment->payment_id);
	e->types[e->n] = type;
	e->payloads[e->n] = payload;
	e->merchants[e->n++] = payment->merchant;
}
