/*
 * src/payment/object.c
 *		One object of the PSP's is one payment's.
 *
 * A movement's key says so of what is booked, and payment_psp_payment_id of
 * payments.  Of a refund that is not over the PSP may have told the id, and
 * nothing is booked yet: that is written in its operation alone.
 */
#include "payments.h"

#include "payment/object.h"
#include "base/uuid.h"
#include "core/spi.h"
#include "payment/payment_private.h"

static bool find(PayStmt *stmt, const PayPayment *payment, const char *object_id, pg_uuid_t *whose);

static PayStmt find_booked = PAY_STMT(SPI_OK_SELECT,
	"SELECT payment_id FROM payments.movement WHERE psp = $1 AND object_id = $2 AND payment_id <> $3 "
	"UNION ALL SELECT payment_id FROM payments.payment WHERE psp = $1 AND psp_payment_id = $2 AND payment_id <> $3 LIMIT 1",
	TEXTOID, TEXTOID, UUIDOID);

/* Those that are not over are queued or dead letters: far fewer than there are operations, so no index is kept for this. */
static PayStmt find_told = PAY_STMT(SPI_OK_SELECT,
	"SELECT o.payment_id FROM payments.operation o "
	"WHERE o.psp_object_id = $2 AND o.payment_id <> $3 AND o.operation_id IN ("
	"SELECT q.operation_id FROM payments.queue q WHERE q.psp = $1 "
	"UNION ALL SELECT d.operation_id FROM payments.dead_letter d WHERE d.psp = $1) LIMIT 1",
	TEXTOID, TEXTOID, UUIDOID);

bool
pay_object_is_elsewhere(const PayPayment *payment, const char *object_id, pg_uuid_t *whose)
{
	return object_id && find(&find_booked, payment, object_id, whose);
}

bool
pay_object_is_told_elsewhere(const PayPayment *payment, const char *object_id, pg_uuid_t *whose)
{
	return find(&find_told, payment, object_id, whose);
}

static bool
find(PayStmt *stmt, const PayPayment *payment, const char *object_id, pg_uuid_t *whose)
{
	PayArgs		args = {0};

	pay_arg_text(&args, pay_payment_speaker(payment));
	pay_arg_text(&args, object_id);
	pay_arg_uuid(&args, &payment->payment_id);
	if (pay_spi_exec(stmt, &args) == 0)
		return false;
	*whose = pay_spi_uuid(0, 1);
	return true;
}

void
pay_object_raise_elsewhere(const PayPayments *set)
{
	ListCell   *cell;

	foreach(cell, set->movements)
	{
		const PayPendingMovement *pending = lfirst(cell);
		pg_uuid_t	whose;

		if (pay_object_is_elsewhere(pending->payment, pending->moved->object_id, &whose))
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("object \"%s\" of PSP \"%s\" belongs to another payment", pending->moved->object_id, pending->moved->psp),
					 errdetail("It is payment %s's.", pay_uuid_text(&whose)),
					 errhint("Look at the PSP's pages: one object of the PSP's is one payment's. An event that meets this is an exception when it comes again.")));
	}
	ereport(ERROR,
			(errcode(PAY_ERR_INTERNAL),
			 errmsg("movements were swallowed by a trigger"),
			 errhint("Drop triggers of others from payments.movement.")));
}

PayOperation *
pay_object_refund(const PayPayment *payment, const PayResult *told, PayOperation *named)
{
	const char *id = told->object_id;
	ListCell   *cell;

	if ((told->effect != PAY_EFFECT_REFUNDED && told->effect != PAY_EFFECT_REFUND_FAILED) || (named && named->kind == PAY_OP_REFUND))
		return named;
	foreach(cell, payment->operations)
	{
		PayOperation *o = lfirst(cell);

		if (o->kind == PAY_OP_REFUND && o->psp_object_id && id && strcmp(o->psp_object_id, id) == 0)
			return o;
	}
	return named;
}
