/*
 * src/core/subtransaction.c
 *		What may fail and must not take the rest of the transaction with it.
 */
#include "payments.h"

#include "core/subtransaction.h"

#include "access/xact.h"
#include "utils/resowner.h"

static bool is_of_class(const ErrorData *error, int sqlstate);

const char *
pay_try(const char *(*work) (void *arg), void *arg, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	const char *volatile reason = NULL;

	*error = NULL;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		reason = work(arg);
		if (reason)
			RollbackAndReleaseCurrentSubTransaction();
		else
			ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		reason = (*error)->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (*error && (is_of_class(*error, ERRCODE_INSUFFICIENT_RESOURCES) || is_of_class(*error, ERRCODE_OPERATOR_INTERVENTION)))
		ReThrowError(*error);
	return reason;
}

bool
pay_error_passes(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || is_of_class(error, ERRCODE_T_R_SERIALIZATION_FAILURE);
}

static bool
is_of_class(const ErrorData *error, int sqlstate)
{
	return ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_TO_CATEGORY(sqlstate);
}
